"""Make test/golden/jumprelu.safetensors: ten training steps of JumpReLU SAEs by straight-through estimators, in float64.

    python scripts/golden.py --only jumprelu    # from the repo root; see golden.py for what to install

Adam has beta1 0, beta2 0.999, eps 1e-8; d=8, n=24, B=16, lambda 0.05. A feature is dead before a step if it has not fired
on the last 24 rows or more. A threshold that a step would take below 0 stays at 0.

    batches [10, B, d], lr [10]
    P, CASE/P                                   each parameter before, and after ten steps
    CASE/{mse, l1_term, aux, l0, dead}  [10]    dead: before the step; l1_term has lambda, aux its coefficient

Cases: see CASES. Estimators: Rajamanoharan et al. 2024b (arXiv 2407.14435), eq. 11 and 12, with a rectangle of width eps.
"""
from functools import partial

import torch
from torch.nn.functional import normalize, relu

from golden import adam_step, decode, save

STEPS, B, D, N, WINDOW, LAMBDA = 10, 16, 8, 24, 24, 0.05
CASES = dict(
    step=dict(kind='step', eps=0.4, to_encoder=False, pre_act=0.),
    step_encoder=dict(kind='step', eps=0.4, to_encoder=True, pre_act=0.02),
    tanh=dict(kind='tanh', eps=0.4, to_encoder=False, pre_act=0.02),
    tanh_encoder=dict(kind='tanh', eps=1.0, to_encoder=True, pre_act=0.02),
    quadratic=dict(kind='quadratic', eps=0.4, to_encoder=False, pre_act=0.),
    quadratic_encoder=dict(kind='quadratic', eps=0.2, to_encoder=True, pre_act=0.02),
)
TANH_SCALE, TARGET = 4., 3.


def kernel(h, theta, eps):
    return ((h - theta).abs() < eps / 2).to(h.dtype) / eps


class Jump(torch.autograd.Function):
    """value(h) where h > theta, else 0; the jump by `height` at theta is differentiated by the kernel."""

    @staticmethod
    def forward(ctx, h, theta, value, height, slope, eps, to_encoder):
        ctx.save_for_backward(h, theta, height)
        ctx.settings = slope, eps, to_encoder
        return torch.where(h > theta, value, 0)

    @staticmethod
    def backward(ctx, gradient):
        h, theta, height = ctx.saved_tensors
        slope, eps, to_encoder = ctx.settings
        jump = height * kernel(h, theta, eps) * gradient
        by_h = slope * (h > theta) * gradient
        return by_h + jump if to_encoder else by_h, -jump.sum(0), None, None, None, None, None


def losses(P, x, dead, kind, eps, to_encoder, pre_act):
    theta = P['threshold']
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = Jump.apply(h, theta, h.detach(), theta.detach(), 1., eps, to_encoder)
    one = torch.ones_like(h)
    l0 = Jump.apply(h, theta, one, torch.ones_like(theta), 0., eps, to_encoder).sum(-1)
    if kind == 'tanh':
        penalty = (TANH_SCALE * f).tanh().sum(-1)
    else:
        penalty = l0 if kind == 'step' else 2 / TARGET * (l0 - TARGET) ** 2
    return dict(mse=(x - decode(P, f)).square().sum(-1).mean(), l1_term=LAMBDA * penalty.mean(),
                aux=pre_act * (relu(theta - h) * dead).sum(-1).mean(), l0=(f > 0).sum(-1).to(x.dtype).mean(),
                dead=dead.sum().to(x.dtype)), (f > 0).any(0)


def train(case, start, batches, lr):
    P = {name: p.clone().requires_grad_() for name, p in start.items()}
    adam = torch.optim.Adam(P.values(), betas=(0., 0.999), eps=1e-8)
    since = torch.zeros(N)
    history = []
    for x, lr_t in zip(batches, lr):
        terms, fired = losses(P, x, since >= WINDOW, **CASES[case])
        history.append({name: v.detach() for name, v in terms.items()})
        adam_step(adam, P['W_dec'], terms['mse'] + terms['l1_term'] + terms['aux'], lr_t)
        with torch.no_grad():
            P['threshold'].clamp_(min=0)
        since = torch.where(fired, 0, since + len(x))
    return ({name: p.detach() for name, p in P.items()},
            {name: torch.stack([h[name] for h in history]) for name in history[0]})


def random_problem(seed):
    rng = torch.Generator().manual_seed(seed)
    rand, randn = (partial(f, generator=rng, dtype=torch.float64) for f in (torch.rand, torch.randn))
    W_dec = normalize(randn(N, D), dim=-1)
    start = dict(W_enc=(0.6 * (W_dec + 0.2 * randn(N, D))).T, W_dec=W_dec, b_dec=0.3 * randn(D), b_enc=0.3 * randn(N),
                 # some are next to 0, and some are out of reach of most
                 threshold=rand(N) ** 2 * 1.4)
    return start, (randn(STEPS, B, D) + 0.5 * randn(D), 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64))


def disagreement(case, start, data, final):
    """Largest relative difference of a float32 run from float64, over some orders of the rows; see golden.py"""
    batches, lr = data
    worst = 0.
    for order in range(4):
        rows = torch.randperm(B, generator=torch.Generator().manual_seed(order)) if order else torch.arange(B)
        final32, _ = train(case, {name: p.float() for name, p in start.items()}, batches[:, rows].float(), lr)
        for name, p in final.items():
            worst = max(worst, ((final32[name] - p).abs().max() / p.abs().max()).item())
    return worst


def make_jumprelu():
    for seed in range(100_000):
        start, data = random_problem(seed)
        results = {case: train(case, start, *data) for case in CASES}
        # Dead features come and go. A threshold next to 0 is pushed up by penalties of L0, but not by that of tanh.
        if not all(len(history['dead'].unique()) > 3 for _, history in results.values()):
            continue
        if not all((results[case][0]['threshold'] == 0).any() for case in ('tanh', 'tanh_encoder')):
            continue
        if all(disagreement(case, start, data, final) < 5e-6 for case, (final, _) in results.items()):
            break
    else:
        raise SystemExit('no seed has float32 agree with float64')
    out = dict(batches=data[0], lr=data[1]) | {name: p.float() for name, p in start.items()}
    for case, (final, history) in results.items():
        out |= {f'{case}/{name}': p for name, p in (final | history).items()}
        print(f'{case}: ' + ', '.join(f'{name} {v[0]:.3f} -> {v[-1]:.3f}' for name, v in history.items()))
        moved = final['threshold'] - start['threshold']
        assert (moved > 1e-2).any() and (moved < -1e-2).any(), moved
    print(f'seed {seed}')
    save('jumprelu', out)
