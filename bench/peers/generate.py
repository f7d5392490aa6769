"""The peer of bench/generate.ts: transformers' generate, greedily, with its own cache.

    generate.py MODEL THREADS
        read lines {"tokens": [[...], ...], "new": n} from stdin; for each write {"seconds": s, "ids": [[...], ...]}, the n
        tokens after each prompt; the first line written says which versions run
"""
import json
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM


@torch.inference_mode()
def main(directory, threads):
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    print(json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__)), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        tokens = torch.tensor(job['tokens'])
        start = time.perf_counter()
        out = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=job['new'], do_sample=False,
                             pad_token_id=0)
        seconds = time.perf_counter() - start
        print(json.dumps(dict(seconds=seconds, ids=out[:, tokens.shape[1]:].tolist())), flush=True)


main(sys.argv[1], int(sys.argv[2]))
