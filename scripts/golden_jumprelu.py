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

from golden import decode, save
from golden_steps import collected, first_agreeing, train_steps

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
                dead=dead.sum().to(x.dtype)), f


def train(case, start, data, lr):
    return train_steps(lambda P, x, dead: losses(P, x, dead, **CASES[case]), start, data, lr, WINDOW,
                       lambda P, f: P['threshold'].clamp_(min=0))


def random_problem(seed):
    rng = torch.Generator().manual_seed(seed)
    rand, randn = (partial(f, generator=rng, dtype=torch.float64) for f in (torch.rand, torch.randn))
    W_dec = normalize(randn(N, D), dim=-1)
    start = dict(W_enc=(0.6 * (W_dec + 0.2 * randn(N, D))).T, W_dec=W_dec, b_dec=0.3 * randn(D), b_enc=0.3 * randn(N),
                 # some are next to 0, and some are out of reach of most
                 threshold=rand(N) ** 2 * 1.4)
    return start, [randn(STEPS, B, D) + 0.5 * randn(D)], 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64)


def make_jumprelu():
    def wanted(results):
        # Dead features come and go. A threshold next to 0 is pushed up by penalties of L0, but not by that of tanh.
        return (all(len(history['dead'].unique()) > 3 for _, history in results.values())
                and all((results[case][0]['threshold'] == 0).any() for case in ('tanh', 'tanh_encoder')))

    seed, (start, data, lr), results = first_agreeing(random_problem, train, CASES, wanted)
    out = collected(start, results, batches=data[0], lr=lr)
    for final, _ in results.values():
        moved = final['threshold'] - start['threshold']
        assert (moved > 1e-2).any() and (moved < -1e-2).any(), moved
    print(f'seed {seed}')
    save('jumprelu', out)
