#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tiny random checkpoints in the layout of Hugging Face transformers, one a way in which architectures
differ, and the perplexity that transformers gives them in double precision.

    python3 -m venv v && v/bin/pip install torch transformers sentencepiece
    v/bin/python tiny_checkpoints.py TOKENIZER.model TEXT FOLDER

writes FOLDER/NAME and prints `NAME PERPLEXITY` for each, of chunks of 255 tokens behind a BOS, as
`perplexity --all-tokens --context 256` counts them. See architectures.sh."""
import math
import os
import shutil
import sys

import sentencepiece
import torch
import transformers
from transformers import (Exaone4Config, Gemma2Config, Gemma3TextConfig, GemmaConfig, GraniteConfig,
                          LlamaConfig, MistralConfig, Olmo2Config, Olmo3Config, Phi3Config, Qwen2Config,
                          Qwen3Config, Qwen3MoeConfig, SmolLM3Config)

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

CONTEXT = 256
SIZES = dict(vocab_size=1024, hidden_size=64, intermediate_size=96, num_hidden_layers=6,
             num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
             bos_token_id=1, eos_token_id=2, pad_token_id=None)
LONG = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1 + 0.05 * i for i in range(8)],
            long_factor=[1 + 0.9 * i for i in range(8)], original_max_position_embeddings=128)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=128)
LINEAR_AND_LOCAL = {"full_attention": dict(rope_type="linear", rope_theta=1e6, factor=8.0),
                    "sliding_attention": dict(rope_type="default", rope_theta=10000.0)}
NO_HEAD_DIM = dict(head_dim=None)

# Name, class of configuration, and what differs from SIZES; None leaves a field out.
ROWS = [
    ("llama", LlamaConfig, {}),
    ("llama3", LlamaConfig, dict(rope_parameters=LLAMA3)),
    ("llama-biases", LlamaConfig, dict(attention_bias=True, mlp_bias=True)),
    ("mistral", MistralConfig, dict(sliding_window=32)),
    ("qwen2", Qwen2Config, dict(NO_HEAD_DIM, tie_word_embeddings=True)),
    ("qwen3", Qwen3Config, dict(head_dim=32)),
    ("qwen3-yarn", Qwen3Config, dict(head_dim=32, rope_parameters=YARN)),
    ("qwen3-moe", Qwen3MoeConfig, dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=48,
                                       norm_topk_prob=True, decoder_sparse_step=1)),
    ("smollm3", SmolLM3Config, {}),
    ("granite", GraniteConfig, dict(embedding_multiplier=3.0, residual_multiplier=0.4,
                                    attention_multiplier=0.2, logits_scaling=2.0)),
    ("gemma", GemmaConfig, dict(head_dim=32, num_key_value_heads=1)),
    ("gemma2", Gemma2Config, dict(sliding_window=32, query_pre_attn_scalar=16)),
    ("gemma3", Gemma3TextConfig, dict(num_hidden_layers=7, sliding_window=32,
                                      query_pre_attn_scalar=16)),
    ("gemma3-linear", Gemma3TextConfig, dict(num_hidden_layers=7, sliding_window=32,
                                             query_pre_attn_scalar=16,
                                             rope_parameters=LINEAR_AND_LOCAL)),
    ("phi3", Phi3Config, dict(NO_HEAD_DIM, original_max_position_embeddings=512)),
    ("phi3-long", Phi3Config, dict(NO_HEAD_DIM, original_max_position_embeddings=128,
                                   rope_parameters=LONG)),
    ("olmo2", Olmo2Config, NO_HEAD_DIM),
    ("olmo3", Olmo3Config, dict(NO_HEAD_DIM, sliding_window=32)),
    ("exaone4", Exaone4Config, dict(sliding_window=None, sliding_window_pattern=0,
                                    layer_types=["full_attention"] * 6)),
]


def make(config_class, changes):
    fields = {k: v for k, v in {**SIZES, **changes}.items()
              if v is not None or k not in ("head_dim",)}
    model = transformers.AutoModelForCausalLM.from_config(config_class(**fields)).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(torch.randn_like(p) * 0.2)
            elif p.dim() > 1:
                p.normal_(0, 0.12 if "embed" in name or "lm_head" in name else 0.2)
            else:
                p.normal_(0, 0.1)
    return model


def perplexity(model, tokens):
    negative_log, count = 0.0, 0
    for begin in range(0, len(tokens), CONTEXT - 1):
        chunk = [1] + tokens[begin:begin + CONTEXT - 1]
        if len(chunk) < 8:
            continue
        with torch.no_grad():
            log = model(torch.tensor([chunk])).logits[0].double().log_softmax(-1)
        negative_log -= sum(log[k, chunk[k + 1]].item() for k in range(len(chunk) - 1))
        count += len(chunk) - 1
    return math.exp(negative_log / count)


def main():
    tokenizer, text, folder = sys.argv[1:4]
    words = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
    with open(text, encoding="utf-8") as file:
        # Whole chunks: LongRoPE's factors follow the length of a text here, of the cache elsewhere.
        tokens = words.encode(file.read())[:2 * (CONTEXT - 1)]
    torch.manual_seed(7)
    for name, config_class, changes in ROWS:
        model = make(config_class, changes)
        path = os.path.join(folder, name)
        model.save_pretrained(path)
        shutil.copy(tokenizer, os.path.join(path, "tokenizer.model"))
        # A grouped product of experts is not to be had in double.
        print(name, "%.6f" % perplexity(model if "moe" in name else model.double(), tokens), flush=True)


if __name__ == "__main__":
    main()
