#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs quantize_model on thousands of broken models and holds it to its word.

    python3 tests/fuzz/mutate_model.py PROGRAM [COUNT] [SEED]

A GGUF, a safetensors checkpoint, its index, config.json, tokenizer.model and tokenizer.json are
broken in turn: bits, bytes, whole numbers, cuts, splices. Whatever comes of it: exit status 0 with a
GGUF, or 1 with one line on stderr and no file; at most 5 s of CPU time; memory within a constant.
Build PROGRAM with sanitizers: their reports are failures here, since they end in another status.
"""

import collections
import json
import os
import pathlib
import random
import resource
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
import make_bad as make  # noqa: E402

SECONDS = 5
# Resident; most of it is the sanitizer's own. The models are 3 KB and 70 KB.
MEBIBYTES = 400


def floats(count):
    return struct.pack(f"<{count}f", *(((i * 37) % 101 - 50) / 64 for i in range(count)))


def gguf_model():
    keys = [
        make.key("general.architecture", make.STRING, make.text("llama")),
        make.key("general.alignment", make.U32, make.u32(32)),
        make.key("tokenizer.ggml.tokens", make.ARRAY, make.u32(make.STRING) + make.u64(2) + make.text("a") + make.text("b")),
        make.key("flags", make.ARRAY, make.u32(make.BOOL) + make.u64(3) + b"\0\1\1"),
    ]
    tensors = [
        make.tensor("token_embd.weight", [32, 4], make.F32, 0),
        make.tensor("norm.weight", [40], make.F32, 512),
        make.tensor("w", [64, 2], make.Q8_0, 672),
        make.tensor("ids", [8], make.I8, 832),
    ]
    q8_0 = b"".join(struct.pack("<e32b", 0.25, *range(-16, 16)) for _ in range(4))
    data = floats(128) + floats(40) + q8_0 + bytes(24) + bytes(8)
    return {"m.gguf": make.gguf(keys, tensors, data)}


def checkpoint():
    """Two layers of the smallest llama whose rows are whole blocks, in two shards."""
    hidden, forward, vocabulary = 64, 96, 5
    shapes = {"model.embed_tokens": [vocabulary, hidden], "lm_head": [vocabulary, hidden], "model.norm": [hidden]}
    layer = {
        "input_layernorm": [hidden],
        "post_attention_layernorm": [hidden],
        "self_attn.q_proj": [hidden, hidden],
        "self_attn.k_proj": [hidden // 2, hidden],
        "self_attn.v_proj": [hidden // 2, hidden],
        "self_attn.o_proj": [hidden, hidden],
        "mlp.gate_proj": [forward, hidden],
        "mlp.up_proj": [forward, hidden],
        "mlp.down_proj": [hidden, forward],
    }
    for name, shape in layer.items():
        shapes["model.layers.0." + name] = shape
    files, weight_map = {}, {}
    for part, names in enumerate([list(shapes)[:6], list(shapes)[6:]]):
        shard, header, data = f"part-{part}.safetensors", {}, b""
        for name in names:
            count = 1
            for axis in shapes[name]:
                count *= axis
            header[name + ".weight"] = make.entry("F32", shapes[name], len(data), len(data) + 4 * count)
            data += floats(count)
            weight_map[name + ".weight"] = shard
        files[shard] = make.safetensors(header, data)
    fields = {"hidden_size": hidden, "intermediate_size": forward, "num_hidden_layers": 1, "vocab_size": vocabulary}
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    files["config.json"] = make.config(**fields, rope_scaling=rope, bos_token_id=1, eos_token_id=[2, 3])
    files["model.safetensors.index.json"] = make.index(weight_map)
    return files


def tokenizer_model():
    return {"tokenizer.model": b"".join(make.piece(p) for p in [b"<unk>", b"<s>", b"</s>", b"a", b"b"])}


def tokenizer_json():
    added = [{"id": 3, "content": "<s>", "special": True}]
    return {"tokenizer.json": make.bpe(added=added, unk_token="a")}


NUMBERS = [0, 1, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32]
NUMBERS += [1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 32, (1 << 64) - 1]
WORDS = [b"-1", b"0", b"1e999", b"2147483647", b"4294967296", b"18446744073709551615", b"null", b"[]", b"{}", b'""', b"[" * 40]


def mutate(rng, content):
    """One to four losses. Heads are short: half of the losses fall into the first 1000 bytes."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not content:
            break
        end = len(content) if rng.random() < 0.5 else min(len(content), 1000)
        at = rng.randrange(end)
        kind = rng.randrange(9)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at] = rng.choice([0, 0xFF, rng.randrange(256)])
        elif kind == 2:
            width = rng.choice([2, 4, 8])
            number = rng.choice(NUMBERS) & ((1 << 8 * width) - 1)
            content[at : at + width] = number.to_bytes(width, "little")
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            del content[at : at + rng.choice([1, 2, 8, 100])]
        elif kind == 5:
            start = rng.randrange(len(content))
            content[at:at] = content[start : start + rng.choice([1, 8, 64])]
        elif kind == 6:
            start = rng.randrange(len(content))
            piece = content[start : start + rng.choice([1, 8, 64])]
            content[at : at + len(piece)] = piece
        elif kind == 7:
            content[at:at] = rng.randbytes(rng.choice([1, 8, 64]))
        else:
            digits = [i for i in range(end) if chr(content[i]).isdigit()] or [at]
            at = rng.choice(digits)
            content[at : at + 1] = rng.choice(WORDS)
    return bytes(content)


def limits():
    resource.setrlimit(resource.RLIMIT_CPU, (10 * SECONDS, 10 * SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(program, source, target):
    """Exit status, CPU seconds, resident MiB, stderr."""
    arguments = [program, source, target / "out.gguf", "--threads", "1"]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=stderr, preexec_fn=limits)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        text = stderr.read()
    return process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def problem_of(status, seconds, mebibytes, stderr, target):
    left = sorted(os.listdir(target))
    if status not in (0, 1):
        return f"exit status {status}"
    if seconds > SECONDS:
        return f"{seconds:.1f} s"
    if mebibytes > MEBIBYTES:
        return f"{mebibytes:.0f} MiB"
    if status == 0 and (left != ["out.gguf"] or (target / left[0]).read_bytes()[:4] != b"GGUF"):
        return f"exit status 0 with the files {left}"
    if status == 1 and left:
        return f"exit status 1 with the files {left}"
    if status == 1 and (stderr.count(b"\n") != 1 or not stderr.startswith(b"quantize_model: ")):
        return "not one line on stderr"
    return None


def main():
    program = os.path.abspath(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    folder_model = {**checkpoint(), **tokenizer_model()}
    models = [
        (gguf_model(), "m.gguf", "m.gguf"),
        (folder_model, "part-0.safetensors", "."),
        (folder_model, "model.safetensors.index.json", "."),
        (folder_model, "config.json", "."),
        (folder_model, "tokenizer.model", "."),
        ({**checkpoint(), **tokenizer_json()}, "tokenizer.json", "."),
    ]
    weights = [6, 6, 1, 3, 2, 2]
    results, most_seconds, most_mebibytes, failures = collections.Counter(), 0.0, 0.0, 0
    for i in range(-len(models), count):
        # First every model as it is: it must be taken.
        files, broken, source = models[i] if i < 0 else rng.choices(models, weights)[0]
        content = files[broken] if i < 0 else mutate(rng, files[broken])
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            target = folder / "target"
            target.mkdir()
            (folder / "model").mkdir()
            for name, other in {**files, broken: content}.items():
                (folder / "model" / name).write_bytes(other)
            result = run(program, folder / "model" / source, target)
            problem = problem_of(*result, target)
        status, seconds, mebibytes, stderr = result
        if i < 0 and status != 0:
            problem = "an intact model is refused"
        most_seconds, most_mebibytes = max(most_seconds, seconds), max(most_mebibytes, mebibytes)
        results[broken, status] += 1
        if problem:
            failures += 1
            kept = pathlib.Path(tempfile.gettempdir()) / f"mutated-{i}-{broken}"
            kept.write_bytes(content)
            print(f"{kept}: {problem}\n{stderr.decode(errors='replace')[:2000]}")
    for (broken, status), number in sorted(results.items()):
        print(f"{broken:30} exit status {status:3}: {number}")
    print(f"at most {most_seconds:.2f} s of CPU time and {most_mebibytes:.0f} MiB; {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
