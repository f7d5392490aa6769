"""The peer of bench/harvest.ts: activations by transformers and a forward hook.

    harvest.py make DIR KIND             write a random-weight model to DIR: gemma2 or gemma2-uncapped (hidden 512, 8
                                         layers), pythia-160m (of its sizes), llama (hidden 768, 12 layers)
    harvest.py run MODEL LAYER ATTENTION THREADS
        read lines {"tokens": [[...], ...], "batches": n} from stdin; for each, run the batch n times and
        write {"seconds": s, "norm": mean |x|}; the first line written says which versions run
"""
import json
import sys
import time

import torch
import transformers
from transformers import (
    AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig,
    LlamaForCausalLM)


def gemma2(**softcaps):
    return Gemma2ForCausalLM(Gemma2Config(
        vocab_size=32000, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
        head_dim=64, intermediate_size=2048, sliding_window=512, query_pre_attn_scalar=64,
        max_position_embeddings=2048, **softcaps))


KINDS = {
    'gemma2': gemma2,
    'gemma2-uncapped': lambda: gemma2(attn_logit_softcapping=None, final_logit_softcapping=None),
    'pythia-160m': lambda: GPTNeoXForCausalLM(GPTNeoXConfig(
        vocab_size=50304, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=0)),
    'llama': lambda: LlamaForCausalLM(LlamaConfig(
        vocab_size=32000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=4,
        intermediate_size=2048, max_position_embeddings=2048)),
}


def make(directory, kind):
    torch.manual_seed(0)
    KINDS[kind]().save_pretrained(directory)


@torch.inference_mode()
def run(directory, layer, attention, threads):
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation=attention).eval()
    transformer = model.gpt_neox if hasattr(model, 'gpt_neox') else model.model
    seen = []
    # what a harvest keeps: every position but BOS, as float16 rows
    transformer.layers[layer].register_forward_hook(
        lambda module, args, out: seen.append(out[:, 1:].reshape(-1, out.shape[-1]).half()))

    def say(**what):
        print(json.dumps(what), flush=True)

    say(torch=torch.__version__, transformers=transformers.__version__)
    for line in sys.stdin:
        job = json.loads(line)
        tokens = torch.tensor(job['tokens'])
        start = time.perf_counter()
        for _ in range(job['batches']):
            seen.clear()
            transformer(input_ids=tokens, use_cache=False)  # without the unembedding, which a harvest has no use for
        seconds = time.perf_counter() - start
        say(seconds=seconds, norm=seen[0].float().norm(dim=-1).mean().item())


if __name__ == '__main__':
    transformers.utils.logging.disable_progress_bar()
    if sys.argv[1] == 'make':
        make(sys.argv[2], sys.argv[3])
    else:
        run(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
