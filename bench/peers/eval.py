"""The peer of bench/eval.ts: loss recovered as SAELens measures it, one forward pass of transformers after another.

    eval.py make DIR [--tiny]            write a random-weight Gemma of Gemma 7B's proportions to DIR
    eval.py run MODEL LAYER SAE THREADS  SAE: a directory with a gated SAE in SAELens's format, for the block's output
        read lines {"tokens": [[...], ...], "batches": n, "what": "clean" | "three"} from stdin; for each, run the
        batch n times and write {"seconds": s, "clean": CE, "spliced": CE, "zero": CE, "kl": KL}, the last three for
        "three" alone; the first line written says which versions run
"""
import json
import sys
import time

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import relu
from transformers import AutoModelForCausalLM, GemmaConfig, GemmaForCausalLM

BOS = 2


def make(directory, tiny):
    torch.manual_seed(0)
    # hidden : MLP : heads as 3072 : 24576 : 4096, and an unembedding of a tenth of the blocks
    size = (dict(vocab_size=200, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2,
                 head_dim=16, intermediate_size=64) if tiny else
            dict(vocab_size=18000, hidden_size=512, num_hidden_layers=12, num_attention_heads=8, num_key_value_heads=8,
                 head_dim=80, intermediate_size=4096))
    model = GemmaForCausalLM(GemmaConfig(max_position_embeddings=2048, **size))
    model.save_pretrained(directory)


@torch.inference_mode()
def run(directory, layer, sae, threads):
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    block = model.model.layers[layer]
    P = load_file(f'{sae}/sae_weights.safetensors')

    def reconstruct(x):
        p = (x - P['b_dec']) @ P['W_enc']
        return (p + P['b_gate'] > 0) * relu(P['r_mag'].exp() * p + P['b_mag']) @ P['W_dec'] + P['b_dec']

    def forward(tokens, replacement=None):
        """-> log-probabilities; the block's output is replaced everywhere but at BOS"""
        keep = (tokens == BOS)[..., None]
        handles = [] if replacement is None else [block.register_forward_hook(
            lambda module, args, x: torch.where(keep, x, replacement(x)))]
        logits = model(input_ids=tokens, use_cache=False).logits
        for handle in handles:
            handle.remove()
        return logits.log_softmax(-1)

    def loss(logp, tokens):
        counted = (tokens[:, :-1] != BOS) & (tokens[:, 1:] != BOS)
        return -logp[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0][counted].mean()

    def three(tokens):
        clean, spliced = forward(tokens), forward(tokens, reconstruct)
        kl = (clean.exp() * (clean - spliced)).sum(-1).mean()
        zero = forward(tokens, torch.zeros_like)
        return dict(clean=loss(clean, tokens).item(), spliced=loss(spliced, tokens).item(),
                    zero=loss(zero, tokens).item(), kl=kl.item())

    def say(**what):
        print(json.dumps(what), flush=True)

    say(torch=torch.__version__, transformers=transformers.__version__)
    for line in sys.stdin:
        job = json.loads(line)
        tokens = torch.tensor(job['tokens'])
        start = time.perf_counter()
        for _ in range(job['batches']):
            losses = three(tokens) if job['what'] == 'three' else dict(clean=loss(forward(tokens), tokens).item())
        say(seconds=time.perf_counter() - start, **losses)


if __name__ == '__main__':
    transformers.utils.logging.disable_progress_bar()
    if sys.argv[1] == 'make':
        make(sys.argv[2], '--tiny' in sys.argv)
    else:
        run(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
