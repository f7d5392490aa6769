"""Make test/golden/clip.safetensors: ten training steps of a gated SAE whose gradients are clipped, in float64.

    python scripts/golden.py --only clip        # from the repo root; see golden.py for what to install

The problem, the loss and Adam (beta1 0.9) are those of train-gated-0.9.safetensors. The norm of all gradients together,
that of W_dec tangent to its rows, is cut to `clip` by torch.nn.utils.clip_grad_norm_: in some steps, not in all.

    P, final/P      each parameter before, and after ten steps
    batches [10, B, d], lr [10], l1 [10], clip [1]
    norm [10]       of the gradients, before they are cut
"""
import torch

from golden import B, adam_step, losses, random_problem, save, scalar


def train(init, batches, lr, l1, clip):
    P = {name: p.clone().requires_grad_() for name, p in init.items()}
    adam = torch.optim.Adam(P.values(), betas=(0.9, 0.999), eps=1e-8)
    norms = [adam_step(adam, P['W_dec'], losses('gated', P, x, l1_t)['loss'], lr_t, clip).detach()
             for x, lr_t, l1_t in zip(batches, lr, l1)]
    return {name: p.detach() for name, p in P.items()}, torch.stack(norms)


def make_clip():
    for seed in range(1000):
        init, batches, lr, l1 = random_problem('gated', seed)
        init = {name: p.float().double() for name, p in init.items()}
        _, norms = train(init, batches, lr, l1, torch.inf)
        clip = norms.median().item()
        final, norms = train(init, batches, lr, l1, clip)
        worst = 0.
        for order in range(4):
            rows = torch.randperm(B, generator=torch.Generator().manual_seed(order)) if order else torch.arange(B)
            init32 = {name: p.float() for name, p in init.items()}
            final32, _ = train(init32, batches[:, rows].float(), lr, l1, clip)
            worst = max([worst, *(((final32[name] - p).abs().max() / p.abs().max()).item() for name, p in final.items())])
        if worst < 5e-6 and 3 <= (norms > clip).sum() <= 7:
            break
    else:
        raise SystemExit('no seed has float32 agree with float64')
    free, _ = train(init, batches, lr, l1, torch.inf)
    assert (free['W_enc'] - final['W_enc']).abs().max() > 1e-3, 'clipping changes nothing'
    print(f'seed {seed}, clip {clip:.3f}, norms ' + ', '.join(f'{norm:.3f}' for norm in norms))
    out = dict(batches=batches, lr=lr, l1=l1, clip=scalar(clip), norm=norms)
    out |= {name: p.float() for name, p in init.items()} | {f'final/{name}': p for name, p in final.items()}
    save('clip', out)
