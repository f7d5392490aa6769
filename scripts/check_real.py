"""The peer of bench/check-real.ts: every hook of a model and the losses of a text, by transformers in float32.

    check_real.py MODEL TEXT OUT    TEXT is a .jsonl.gz whose first document is read; OUT is a safetensors file:
                                    tokens int32 [1, 64], nll float32 [63], and every hook [64, width]
"""
import gzip
import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hook_points import record_hooks, text_model

CONTEXT = 64


@torch.inference_mode()
def main(directory, text, out):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation='eager').eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    with gzip.open(text, 'rt') as lines:
        document = json.loads(next(lines))['text']
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    tokens = torch.tensor([start + tokenizer(document, add_special_tokens=False).input_ids])[:, :CONTEXT]
    hooks = record_hooks(text_model(model))
    logits = model(tokens).logits[0].float().log_softmax(-1)
    nll = -logits[:-1].gather(1, tokens[0, 1:, None])[:, 0]
    values = {name: value.reshape(tokens.shape[1], -1).contiguous().clone() for name, value in hooks.items()}
    save_file({'tokens': tokens.int(), 'nll': nll.contiguous(), **values}, out)


main(*sys.argv[1:])
