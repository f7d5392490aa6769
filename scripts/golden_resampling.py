"""resampling-{gated,standard}.safetensors, in float64: d=12, n=40, 64 inputs
    P                       each parameter before
    x [64, d], l1 [1]       inputs, lambda over sums of squares
    loss [64]               the training loss of each input alone
    features, inputs [5]    int32: which features get the direction of which inputs
    resampled/P             each parameter afterwards (Bricken et al. 2023; arXiv 2404.16014, appendix D)
"""
import torch
from torch.nn.functional import normalize

from golden import losses, random_problem, save, scalar


def make_resampling():
    for arch in ('gated', 'standard'):
        P, batches, _, _ = random_problem(arch, 11)
        x = batches.reshape(-1, batches.shape[-1])[:64]
        l1 = 0.3
        loss = torch.stack([losses(arch, P, row[None], l1)['loss'] for row in x])
        features, inputs = torch.tensor([0, 1, 2, 17, 39]), torch.tensor([3, 60, 11, 0, 42])
        alive = torch.ones(P['W_dec'].shape[0], dtype=torch.bool)
        alive[features] = False
        mean_norm = P['W_enc'][:, alive].norm(dim=0).mean()
        unit = normalize(x[inputs] - P['b_dec'], dim=-1)
        after = {name: p.clone() for name, p in P.items()}
        after['W_dec'][features] = unit
        after['W_enc'][:, features] = (0.2 * mean_norm * unit).T
        for name in ('b_gate', 'b_mag', 'r_mag', 'b_enc'):
            if name in after:
                after[name][features] = 0
        out = dict(P, x=x, l1=scalar(l1), loss=loss, features=features.int(), inputs=inputs.int())
        out |= {f'resampled/{name}': p for name, p in after.items()}
        save(f'resampling-{arch}', out)
