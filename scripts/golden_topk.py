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

from golden import adam_step, decode, save

STEPS, B, D, N, K, WINDOW = 10, 16, 8, 24, 3, 24
CASES = dict(usual=(D // 2, 1 / 32), few=(2, 1 / 4), none=(D // 2, 0.), multi=(D // 2, 1 / 32, True))


def largest(pre, k):
    """The k largest of ReLU(pre) in each row, where they are"""
    values, indices = relu(pre).topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values)


def variance(v):
    return (v - v.mean(0)).square().sum(-1).mean()


def losses(P, x, dead, k_aux, coefficient, multi=False):
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = largest(h, K)
    x_hat = decode(P, f)
    e = (x - x_hat).detach()
    aux = torch.zeros((), dtype=x.dtype)
    if dead.any() and coefficient > 0 and variance(e) > 0:
        z = largest(torch.where(dead, h, -torch.inf), min(k_aux, int(dead.sum())))
        aux = coefficient * (e - z @ P['W_dec']).square().sum(-1).mean() * variance(x) / variance(e)
    if multi:
        aux = aux + (x - decode(P, largest(h, 4 * K))).square().sum(-1).mean() / 8
    return dict(mse=(x - x_hat).square().sum(-1).mean(), aux=aux, l0=(f > 0).sum(-1).to(x.dtype).mean(),
                dead=dead.sum().to(x.dtype)), (f > 0).any(0)


def train(case, start, batches, lr):
    P = {name: p.clone().requires_grad_() for name, p in start.items()}
    adam = torch.optim.Adam(P.values(), betas=(0., 0.999), eps=1e-8)
    since = torch.zeros(N)
    history = []
    for x, lr_t in zip(batches, lr):
        terms, fired = losses(P, x, since >= WINDOW, *CASES[case])
        history.append({name: v.detach() for name, v in terms.items()})
        adam_step(adam, P['W_dec'], terms['mse'] + terms['aux'], lr_t)
        since = torch.where(fired, 0, since + len(x))
    return ({name: p.detach() for name, p in P.items()},
            {name: torch.stack([h[name] for h in history]) for name in history[0]})


def random_problem(seed):
    rng = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=rng, dtype=torch.float64)
    W_dec = normalize(randn(N, D), dim=-1)
    start = dict(W_enc=(0.6 * (W_dec + 0.2 * randn(N, D))).T, W_dec=W_dec, b_dec=0.3 * randn(D), b_enc=0.5 * randn(N))
    return start, (randn(STEPS, B, D) + 0.5 * randn(D), 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64))


def disagreement(case, start, data, final, train=train):
    """Largest relative difference of a float32 run from float64, over some orders of the rows; see golden.py"""
    batches, lr = data
    worst = 0.
    for order in range(4):
        rows = torch.randperm(B, generator=torch.Generator().manual_seed(order)) if order else torch.arange(B)
        final32, _ = train(case, {name: p.float() for name, p in start.items()}, batches[:, rows].float(), lr)
        for name, p in final.items():
            worst = max(worst, ((final32[name] - p).abs().max() / p.abs().max()).item())
    return worst


def make_topk():
    for seed in range(100_000):
        start, data = random_problem(seed)
        results = {case: train(case, start, *data) for case in CASES}
        dead = results['few'][1]['dead']
        # Dead features come and go, more of them than k_aux, and the auxiliary loss finds some to use.
        if not (dead[0] == 0 and dead.max() > 4 and len(dead.unique()) > 3 and results['few'][1]['aux'][-1] > 0):
            continue
        if all(disagreement(case, start, data, final) < 5e-6 for case, (final, _) in results.items()):
            break
    else:
        raise SystemExit('no seed has float32 agree with float64')
    out = dict(batches=data[0], lr=data[1]) | {name: p.float() for name, p in start.items()}
    for case, (final, history) in results.items():
        out |= {f'{case}/{name}': p for name, p in (final | history).items()}
        print(f'{case}: ' + ', '.join(f'{name} {v[0]:.3f} -> {v[-1]:.3f}' for name, v in history.items()))
    moved = (results['few'][0]['W_enc'] - results['none'][0]['W_enc']).abs().max()
    assert moved > 1e-3, 'the auxiliary loss changes nothing'
    print(f'seed {seed}')
    save('topk', out)
