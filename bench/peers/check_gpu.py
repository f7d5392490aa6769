"""The peer of bench/check-gpu.ts: the same checkpoint and tokens through transformers.

    check_gpu.py JOB.json ROWS.safetensors

Writes the hooks' rows (all positions but BOS) and prints one line of JSON; bench/check-gpu-job.ts says what is in
both. A harvest's pass ends at the job's block here, too. Losses are those of two passes, the second with the residual
stream after that block set to zero at all positions but BOS; a position counts unless it is BOS.
"""
import json
import sys
import time

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM


class Enough(Exception):
    pass


def rates(tokens, seconds, run):
    found, begun = [], time.perf_counter()
    while len(found) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        found.append(tokens / (time.perf_counter() - start))
    return found


@torch.inference_mode()
def main(job_path, rows_path):
    with open(job_path) as file:
        job = json.load(file)
    torch.set_num_threads(job['threads'])
    begun = time.perf_counter()
    dtype = getattr(torch, job['precision'])
    model = AutoModelForCausalLM.from_pretrained(job['model'], dtype=dtype, attn_implementation='sdpa').eval()
    model.to(job['device'])
    opening = time.perf_counter() - begun
    tokens = torch.tensor(job['tokens'], device=job['device'])
    block = model.model.layers[job['layer']]
    prefix = f"blocks.{job['layer']}."
    rows = {}

    def keep(name, value):
        if prefix + name in job['hooks']:
            rows[prefix + name] = value[:, 1:].reshape(-1, value.shape[-1])

    def keep_residual(module, args, out):
        keep('hook_resid_post', out)
        raise Enough

    def harvest():
        handles = [
            block.self_attn.o_proj.register_forward_pre_hook(lambda module, args: keep('attn.hook_z', args[0])),
            block.mlp.register_forward_hook(lambda module, args, out: keep('hook_mlp_out', out)),
            block.register_forward_hook(keep_residual),
        ]
        try:
            model.model(input_ids=tokens, use_cache=False)
        except Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return {name: value.cpu() for name, value in rows.items()}

    def zeroed(module, args, out):
        out = out.clone()
        out[:, 1:] = 0
        return out

    def mean_loss():
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
        # a context at a time: the logits of all would need gigabytes
        losses = [torch.nn.functional.cross_entropy(model.lm_head(h[1:-1]).float(), t[2:], reduction='sum')
                  for h, t in zip(hidden, tokens)]
        return (torch.stack(losses).sum() / (tokens.shape[0] * (tokens.shape[1] - 2))).item()

    def clean_and_zero():
        clean = mean_loss()
        handle = block.register_forward_hook(zeroed)
        try:
            return clean, mean_loss()
        finally:
            handle.remove()

    save_file({name: value.contiguous() for name, value in harvest().items()}, rows_path)
    harvested = rates(tokens.numel(), job['seconds'], harvest)
    clean, zero = clean_and_zero()
    losses = rates(tokens.numel(), job['seconds'], clean_and_zero)
    version = f'PyTorch {torch.__version__}, transformers {transformers.__version__}'
    print(json.dumps(dict(version=version, opening=opening, harvest=harvested, losses=losses, clean=clean, zero=zero)))


if __name__ == '__main__':
    transformers.utils.logging.disable_progress_bar()
    main(*sys.argv[1:])
