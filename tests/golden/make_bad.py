#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/golden/bad: one small file a defect, the defect in its name.

    python3 tests/golden/make_bad.py

Every other byte of a file is right, so that no other check can refuse it first. What each file must
be refused with stands in tests/io/bad_files_test.cpp.
"""

import json
import pathlib
import struct

BAD = pathlib.Path(__file__).parent / "bad"
U8, U32, BOOL, STRING, ARRAY, U64 = 0, 4, 7, 8, 9, 10  # of values
F32, Q8_0, I8 = 0, 8, 24  # of tensors
HUGE = 1 << 62


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


def u64(*values):
    return struct.pack(f"<{len(values)}Q", *values)


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return u64(len(value)) + value


# ---- GGUF: every part of a file can be said to be another than it is.


def key(name, kind, value=b""):
    return text(name) + u32(kind) + value


def tensor(name, dims, kind, offset, n_dims=None):
    return text(name) + u32(len(dims) if n_dims is None else n_dims) + u64(*dims) + u32(kind) + u64(offset)


KEYS = [key("general.architecture", STRING, text("llama"))]
TENSORS = [tensor("norm", [8], F32, 0), tensor("w", [32, 2], Q8_0, 32)]
DATA = bytes(32) + bytes(2 * 34)


def gguf(keys=KEYS, tensors=TENSORS, data=DATA, magic=b"GGUF", version=3, key_count=None, tensor_count=None, alignment=32):
    head = magic + u32(version)
    head += u64(len(tensors) if tensor_count is None else tensor_count)
    head += u64(len(keys) if key_count is None else key_count)
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def more_keys(*keys):
    return gguf(KEYS + list(keys))


def more_tensors(*tensors):
    """A third tensor where the second one, padded, ends."""
    return gguf(tensors=TENSORS + list(tensors), data=DATA + bytes(28 + 64))


def cut(file, behind, keep):
    """The file up to `keep` bytes behind the first place that holds `behind`."""
    return file[: file.index(behind) + len(behind) + keep]


GGUF = {
    "gguf-other-magic": gguf(magic=b"GGML"),
    "gguf-version-2": gguf(version=2),
    "gguf-big-endian": gguf(version=3 << 24),
    # Counts and lengths that the rest of the file cannot hold.
    "gguf-tensor-count-beyond-file": gguf(tensor_count=9),
    "gguf-tensor-count-overflows-allocation": gguf(tensor_count=HUGE),
    "gguf-key-count-beyond-file": gguf(key_count=99),
    "gguf-key-count-overflows-allocation": gguf(key_count=(1 << 64) - 1),
    "gguf-key-length-beyond-file": gguf([u64(HUGE) + b"k"]),
    "gguf-string-length-beyond-file": more_keys(key("k", STRING, u64(1000))),
    "gguf-string-length-beyond-uint32": more_keys(key("k", STRING, u64((1 << 32) + 1) + b"x")),
    "gguf-string-length-overflows-offset": more_keys(key("k", STRING, u64((1 << 64) - 8))),
    "gguf-array-count-beyond-file": more_keys(key("k", ARRAY, u32(U8) + u64(1000))),
    "gguf-array-count-beyond-int32": more_keys(key("k", ARRAY, u32(U8) + u64((1 << 32) + 1))),
    "gguf-array-size-overflows": more_keys(key("k", ARRAY, u32(U64) + u64(1 << 61))),
    "gguf-string-array-count-beyond-file": more_keys(key("tokenizer.ggml.tokens", ARRAY, u32(STRING) + u64(1 << 20))),
    "gguf-token-length-beyond-int32": more_keys(
        key("tokenizer.ggml.tokens", ARRAY, u32(STRING) + u64(2) + text("a") + u64(1 << 31))
    ),
    "gguf-tensor-name-length-beyond-file": gguf(tensors=[TENSORS[0], u64(HUGE) + b"w" + bytes(40)]),
    # Reads that fail leave nothing behind that could be used.
    "gguf-truncated-in-head": gguf()[:20],
    "gguf-truncated-in-value-type": cut(gguf(tensors=[]), b"general.architecture", 2),
    "gguf-truncated-in-value": cut(gguf(tensors=[]), b"llama", -1),
    "gguf-truncated-in-array-head": cut(more_keys(key("k", ARRAY, u32(U8) + u64(1) + b"x")), b"k" + u32(ARRAY, U8), 3),
    "gguf-truncated-in-dims": cut(gguf(), b"norm" + u32(1), 5),
    "gguf-truncated-in-offset": cut(gguf(), u64(32, 2) + u32(Q8_0), 7),
    # Values.
    "gguf-unknown-value-type": more_keys(key("k", 13, bytes(8))),
    "gguf-nested-array": more_keys(key("k", ARRAY, u32(ARRAY) + u64(1) + u32(U8) + u64(1) + b"x")),
    "gguf-nested-array-deep": more_keys(key("k", ARRAY, (u32(ARRAY) + u64(1)) * 300)),
    "gguf-bool-2": more_keys(key("k", BOOL, b"\2")),
    "gguf-duplicate-key": more_keys(key("k", U8, b"1"), key("k", U8, b"2")),
    "gguf-empty-key": more_keys(key("", U8, b"1")),
    "gguf-key-of-control-bytes": more_keys(key("a\n\x1b[2J", 99)),
    "gguf-alignment-0": more_keys(key("general.alignment", U32, u32(0))),
    "gguf-alignment-no-power-of-two": more_keys(key("general.alignment", U32, u32(48))),
    "gguf-alignment-overflows-padding": more_keys(key("general.alignment", U32, u32(1 << 31))),
    "gguf-alignment-u64": more_keys(key("general.alignment", U64, u64(32))),
    # Tensors.
    "gguf-duplicate-tensor": more_tensors(tensor("norm", [8], F32, 128)),
    "gguf-tensor-name-of-64-bytes": more_tensors(tensor("n" * 64, [8], F32, 128)),
    "gguf-unknown-tensor-type": more_tensors(tensor("t", [8], 99, 128)),
    "gguf-removed-tensor-type": more_tensors(tensor("t", [32], 4, 128)),
    "gguf-n-dims-0": more_tensors(tensor("t", [], F32, 128)),
    "gguf-n-dims-5": more_tensors(tensor("t", [2, 1, 1, 1, 1], F32, 128)),
    "gguf-n-dims-4294967295": more_tensors(tensor("t", [8], F32, 128, n_dims=0xFFFFFFFF)),
    "gguf-dim-0": more_tensors(tensor("t", [8, 0], F32, 128)),
    "gguf-dims-product-overflows": more_tensors(tensor("t", [1 << 32, 1 << 33], F32, 128)),
    "gguf-dims-product-wraps-to-8": more_tensors(tensor("t", [8, (1 << 63) + 1, 1, 1], F32, 128)),
    "gguf-dims-product-negative-as-int64": more_tensors(tensor("t", [1 << 63], I8, 128)),
    "gguf-tensor-size-overflows": more_tensors(tensor("t", [HUGE], F32, 128)),
    "gguf-tensor-padding-overflows": more_tensors(tensor("t", [HUGE - 1], F32, 128)),
    "gguf-sum-of-tensor-sizes-overflows": more_tensors(
        tensor("t", [3 << 60], F32, 128), tensor("u", [1 << 60], F32, (3 << 62) + 128)
    ),
    "gguf-dims-inflated-beyond-data": gguf(tensors=[TENSORS[0], tensor("w", [32, 1000], Q8_0, 32)]),
    "gguf-row-no-multiple-of-block": more_tensors(tensor("t", [48, 2], Q8_0, 128)),
    "gguf-offset-beyond-file": more_tensors(tensor("t", [8], F32, 1 << 40)),
    "gguf-offset-unaligned": more_tensors(tensor("t", [8], F32, 100)),
    "gguf-offset-wraps-into-head": more_tensors(tensor("t", [8], F32, (1 << 64) - 64)),
    "gguf-overlapping-tensors": more_tensors(tensor("t", [8], F32, 0)),
    "gguf-hole-between-tensors": more_tensors(tensor("t", [8], F32, 160)),
    "gguf-data-truncated": gguf()[:-1],
    "gguf-data-missing": gguf(data=b""),
}

# ---- safetensors


def safetensors(header, data=b"", length=None):
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header, separators=(",", ":"))
    header = header.encode() if isinstance(header, str) else header
    return u64(len(header) if length is None else length) + header + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = entry("F32", [2], 0, 8)


def two(begin, end, data):
    """A second tensor of 4 bytes, somewhere."""
    return safetensors({"a": GOOD, "b": entry("I8", [4], begin, end)}, bytes(data))


def one(tensor_entry, data=8, name="t"):
    return safetensors({name: tensor_entry}, bytes(data))


def without(field):
    return one({k: v for k, v in GOOD.items() if k != field})


SAFETENSORS = {
    "safetensors-truncated-in-header-length": safetensors({})[:7],
    "safetensors-header-length-beyond-file": safetensors({"t": GOOD}, bytes(8), length=1000),
    "safetensors-header-length-overflows-offset": safetensors({"t": GOOD}, bytes(8), length=(1 << 64) - 1),
    "safetensors-header-over-the-limit": safetensors({"t": GOOD}, bytes(8), length=100_000_001),
    "safetensors-header-empty": safetensors(""),
    "safetensors-header-begins-with-space": safetensors(" {}"),
    "safetensors-header-no-object": safetensors("[]"),
    "safetensors-header-truncated": safetensors('{"t":{"dtype":"F32","shape":[2'),
    "safetensors-header-no-utf8": safetensors(b'{"\xff":1}'),
    "safetensors-header-nested-too-deep": safetensors('{"t":' + "[" * 1000 + "]" * 1000 + "}"),
    "safetensors-number-out-of-range": safetensors('{"t":{"x":1e999}}'),
    "safetensors-duplicate-tensor": safetensors(f'{{"t":{json.dumps(GOOD)},"t":{json.dumps(GOOD)}}}', bytes(8)),
    "safetensors-duplicate-field": safetensors(
        '{"t":{"dtype":"F32","shape":[2],"shape":[200],"data_offsets":[0,8]}}', bytes(8)
    ),
    "safetensors-metadata-no-string": safetensors({"__metadata__": {"format": 1}, "t": GOOD}, bytes(8)),
    "safetensors-tensor-no-object": safetensors({"t": [1]}),
    "safetensors-missing-dtype": without("dtype"),
    "safetensors-missing-shape": without("shape"),
    "safetensors-missing-offsets": without("data_offsets"),
    "safetensors-unknown-dtype": one(entry("F8_E4M3", [8], 0, 8)),
    "safetensors-dim-0": one(entry("F32", [2, 0], 0, 0), 0),
    "safetensors-dim-negative": one(entry("F32", [-2], 0, 8)),
    "safetensors-dim-fraction": one(entry("F32", [2.0], 0, 8)),
    "safetensors-dim-beyond-uint64": one(entry("F32", [1 << 64], 0, 8)),
    "safetensors-five-dims": one(entry("F32", [2, 1, 1, 1, 1], 0, 8)),
    "safetensors-shape-product-overflows": one(entry("F32", [1 << 32, 1 << 33], 0, 8)),
    "safetensors-shape-product-wraps-to-2": one(entry("F32", [2, (1 << 63) + 1], 0, 8)),
    "safetensors-tensor-size-overflows": one(entry("F32", [HUGE], 0, 8)),
    "safetensors-shape-inflated-beyond-data": one(entry("F32", [1000], 0, 8)),
    "safetensors-dtype-wider-than-offsets": one(entry("F64", [2], 0, 8)),
    "safetensors-offset-beyond-file": one(entry("F32", [2], 1 << 40, (1 << 40) + 8)),
    "safetensors-offset-negative": one(entry("F32", [2], -8, 0)),
    "safetensors-offsets-reversed": one(entry("F32", [2], 8, 0)),
    "safetensors-offsets-wrap": one(entry("F32", [2], (1 << 64) - 8, 0)),
    "safetensors-three-offsets": one({**GOOD, "data_offsets": [0, 4, 8]}),
    "safetensors-overlapping-tensors": two(6, 10, 10),
    "safetensors-hole-between-tensors": two(9, 13, 13),
    "safetensors-hole-before-first-tensor": one(entry("F32", [2], 4, 12), 12),
    "safetensors-bytes-behind-last-tensor": two(8, 12, 13),
    "safetensors-data-truncated": two(8, 12, 11),
    "safetensors-name-of-control-bytes": one(entry("F32", [3], 0, 8), name="a\n\x1b[2J"),
}

# ---- model.safetensors.index.json


def index(weight_map):
    return json.dumps({"metadata": {}, "weight_map": weight_map}).encode()


INDEX = {
    "index-no-weight-map": b'{"metadata": {}}',
    "index-empty-weight-map": index({}),
    "index-shard-no-string": index({"w": 1}),
    "index-shard-in-parent-folder": index({"w": "../model.safetensors"}),
    "index-shard-absolute-path": index({"w": "/model.safetensors"}),
    "index-duplicate-tensor": b'{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}',
}

# ---- config.json

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
}


def config(**fields):
    """LLAMA with other fields; None takes a field away."""
    return json.dumps({k: v for k, v in {**LLAMA, **fields}.items() if v is not None}).encode()


CONFIG = {
    "config-truncated": config()[:-1],
    "config-text-behind-object": config() + b"}",
    "config-no-object": b"[1, 2]",
    "config-no-utf8": config().replace(b"llama", b"ll\xc0ma"),
    "config-nested-too-deep": b'{"a":' + b"[" * 1500 + b"]" * 1500 + b"}",
    "config-duplicate-field": config()[:-1] + b', "hidden_size": 128}',
    "config-number-out-of-range": config()[:-1] + b', "rms_norm_eps": 1e999}',
    "config-missing-hidden-size": config(hidden_size=None),
    "config-heads-0": config(num_attention_heads=0),
    "config-kv-heads-0": config(num_key_value_heads=0),
    "config-kv-heads-no-divisor": config(num_key_value_heads=3),
    "config-heads-no-divisor": config(num_attention_heads=7),
    "config-layers-negative": config(num_hidden_layers=-1),
    "config-layers-beyond-int32": config(num_hidden_layers=(1 << 32) + 2),
    "config-vocabulary-beyond-int32": config(vocab_size=1 << 31),
    "config-vocabulary-beyond-uint64": config(vocab_size=1 << 64),
    "config-hidden-size-as-text": config(hidden_size="64"),
    "config-hidden-size-fraction": config(hidden_size=64.5),
    "config-head-size-odd": config(head_dim=7),
    "config-head-size-fills-memory": config(head_dim=1 << 30),
    "config-epsilon-below-f32": config(rms_norm_eps=1e-60),
    "config-rope-base-negative": config(rope_theta=-1.0),
    "config-rope-factor-0": config(rope_scaling={"type": "linear", "factor": 0}),
    "config-rope-range-empty": config(
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 8192}
    ),
    "config-unknown-rope": config(rope_scaling={"type": "ntk", "factor": 4.0}),
    "config-token-as-text": config(eos_token_id="</s>"),
}

# ---- tokenizer.model, a protobuf


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, wire, payload):
    return varint(number << 3 | wire) + payload


def delimited(number, payload):
    return field(number, 2, varint(len(payload)) + payload)


def piece(name=b"a", score=0.0, kind=varint(1)):
    return delimited(1, delimited(1, name) + field(2, 5, struct.pack("<f", score)) + field(3, 0, kind))


TOKENIZER = {
    "tokenizer-no-pieces": delimited(3, field(3, 0, varint(1))),
    "tokenizer-empty-piece": piece(b""),
    "tokenizer-piece-without-text": piece() + delimited(1, field(3, 0, varint(1))),
    "tokenizer-score-nan": piece(score=float("nan")),
    "tokenizer-score-infinite": piece(score=float("inf")),
    "tokenizer-type-7": piece(kind=varint(7)),
    "tokenizer-type-beyond-int32": piece(kind=varint((1 << 32) + 1)),
    "tokenizer-type-as-text": piece() + delimited(1, delimited(1, b"b") + delimited(3, b"1")),
    "tokenizer-text-as-number": delimited(1, field(1, 0, varint(5))),
    "tokenizer-piece-length-beyond-file": piece() + field(1, 2, varint(100)) + b"\x0a",
    "tokenizer-piece-length-beyond-int32": piece() + field(1, 2, varint((1 << 32) + 3)) + b"\x0a\x01b",
    "tokenizer-piece-length-overflows-offset": piece() + field(1, 2, varint((1 << 64) - 1)),
    "tokenizer-text-length-beyond-piece": delimited(1, field(1, 2, varint(9)) + b"a") + piece(b"12345678"),
    "tokenizer-varint-over-64-bits": piece() + field(9, 0, b"\xff" * 9 + b"\x02"),
    "tokenizer-varint-endless": piece() + field(9, 0, b"\x80" * 100),
    "tokenizer-truncated-in-varint": piece() + field(9, 0, b"\x80"),
    "tokenizer-truncated-in-score": (piece() + delimited(1, delimited(1, b"b") + field(2, 5, b"\0\0"))),
    "tokenizer-group-nested": piece() + field(9, 3, b"") * 1000 + field(9, 4, b"") * 1000,
    "tokenizer-wire-type-7": piece() + field(9, 7, b""),
    "tokenizer-field-0": piece() + b"\x00\x00",
    "tokenizer-normalizer-as-number": piece() + field(3, 0, varint(1)),
}

# ---- tokenizer.json


def bpe(vocabulary={"a": 0, "b": 1, "ab": 2}, merges=["a b"], added=[], **fields):
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges, **fields}
    return json.dumps({"model": model, "added_tokens": added}).encode()


TOKENIZER_JSON = {
    "tokenizer-truncated": bpe()[:-1],
    "tokenizer-nested-too-deep": bpe(merges=[]).replace(b"[]", b"[" * 1000 + b"]" * 1000, 1),
    "tokenizer-duplicate-token": bpe().replace(b'"b": 1', b'"a": 1'),
    "tokenizer-duplicate-id": bpe({"a": 0, "b": 0}),
    "tokenizer-other-model": bpe(type="Unigram"),
    "tokenizer-empty-vocabulary": bpe({}),
    "tokenizer-vocabulary-as-array": bpe(["a", "b"]),
    "tokenizer-id-negative": bpe({"a": -1}),
    "tokenizer-id-fraction": bpe({"a": 0.5}),
    "tokenizer-id-fills-memory": bpe({"a": 0, "b": (1 << 31) - 2}),
    "tokenizer-id-beyond-uint64": bpe({"a": 1 << 64}),
    "tokenizer-added-id-beyond-int32": bpe(added=[{"id": 1 << 32, "content": "x"}]),
    "tokenizer-added-token-without-content": bpe(added=[{"id": 3}]),
    "tokenizer-added-tokens-as-text": bpe(added="<s>"),
    "tokenizer-merge-of-one": bpe(merges=["ab"]),
    "tokenizer-merge-of-three": bpe(merges=[["a", "b", "c"]]),
    "tokenizer-merges-missing": bpe().replace(b'"merges"', b'"mergers"'),
}

KINDS = [
    (GGUF, ".gguf"),
    (SAFETENSORS, ".safetensors"),
    (INDEX, ".json"),
    (CONFIG, ".json"),
    (TOKENIZER, ".model"),
    (TOKENIZER_JSON, ".json"),
]


def main():
    BAD.mkdir(exist_ok=True)
    for old in BAD.iterdir():
        old.unlink()
    for files, extension in KINDS:
        for name, content in files.items():
            assert len(content) <= 4096, name
            (BAD / (name + extension)).write_bytes(content)


if __name__ == "__main__":
    main()
