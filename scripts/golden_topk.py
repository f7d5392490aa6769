"""Make test/golden/topk.safetensors: ten training steps of a TopK SAE with AuxK (Gao et al. 2024), in float64.

    python scripts/golden.py --only topk        # from the repo root; see golden.py for what to install

Adam has beta1 0, beta2 0.999, eps 1e-8; d=8, n=24, B=16, k=3. A feature is dead before a step if it has not fired on the
last 24 rows or more.

    batches [10, B, d], lr [10]
    P, CASE/P                               each parameter before, and after ten steps
    CASE/{mse, aux, l0, dead}  [10]         dead: before the step; aux has its coefficient

Cases: usual (k_aux 4, coefficient 1/32), few (k_aux 2, coefficient 1/4), none (coefficient 0), multi (as usual, with an
eighth of the squared error of the 4 k largest added, which aux has as well).
"""
from functools import partial

import torch
from torch.nn.functional import normalize, relu

from golden import decode, save
from golden_steps import collected, first_agreeing, train_steps

STEPS, B, D, N, K, WINDOW = 10, 16, 8, 24, 3, 24
CASES = dict(usual=(D // 2, 1 / 32), few=(2, 1 / 4), none=(D // 2, 0.), multi=(D // 2, 1 / 32, True))


def largest(pre, k):
    """The k largest of ReLU(pre) in each row, where they are"""
    values, indices = relu(pre).topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values)


def variance(v):
    return (v - v.mean(0)).square().sum(-1).mean()


def aux_k(P, h, dead, e, x, k_aux, coefficient):
    """The loss of the k_aux largest dead features of h that reconstruct the error e, with its coefficient"""
    if not (dead.any() and coefficient > 0 and variance(e) > 0):
        return torch.zeros((), dtype=x.dtype)
    z = largest(torch.where(dead, h, -torch.inf), min(k_aux, int(dead.sum())))
    return coefficient * (e - z @ P['W_dec']).square().sum(-1).mean() * variance(x) / variance(e)


def losses(P, x, dead, k_aux, coefficient, multi=False):
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = largest(h, K)
    x_hat = decode(P, f)
    aux = aux_k(P, h, dead, (x - x_hat).detach(), x, k_aux, coefficient)
    if multi:
        aux = aux + (x - decode(P, largest(h, 4 * K))).square().sum(-1).mean() / 8
    return dict(mse=(x - x_hat).square().sum(-1).mean(), aux=aux, l0=(f > 0).sum(-1).to(x.dtype).mean(),
                dead=dead.sum().to(x.dtype)), f


def train(case, start, data, lr):
    return train_steps(lambda P, x, dead: losses(P, x, dead, *CASES[case]), start, data, lr, WINDOW)


def random_problem(seed):
    rng = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=rng, dtype=torch.float64)
    W_dec = normalize(randn(N, D), dim=-1)
    start = dict(W_enc=(0.6 * (W_dec + 0.2 * randn(N, D))).T, W_dec=W_dec, b_dec=0.3 * randn(D), b_enc=0.5 * randn(N))
    return start, [randn(STEPS, B, D) + 0.5 * randn(D)], 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64)


def moved(results, case, other):
    """How far apart W_enc is after two cases"""
    return (results[case][0]['W_enc'] - results[other][0]['W_enc']).abs().max()


def make_topk():
    def wanted(results):
        # Dead features come and go, more of them than k_aux, and the auxiliary loss finds some to use.
        dead = results['few'][1]['dead']
        return dead[0] == 0 and dead.max() > 4 and len(dead.unique()) > 3 and results['few'][1]['aux'][-1] > 0

    seed, (start, data, lr), results = first_agreeing(random_problem, train, CASES, wanted)
    out = collected(start, results, batches=data[0], lr=lr)
    assert moved(results, 'few', 'none') > 1e-3, 'the auxiliary loss changes nothing'
    print(f'seed {seed}')
    save('topk', out)
