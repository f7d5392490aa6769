"""Make test/golden/transcoder.safetensors: ten training steps of transcoders, with and without a skip connection, in float64.

    python scripts/golden.py --only transcoder        # from the repo root; see golden.py for what to install

yhat = f W_dec + b_dec [+ x W_skip^T], and x is encoded as it is. The losses are those of the SAEs, with y - yhat in the
place of x - xhat: f and g as golden.py has them, TopK and AuxK as golden_topk.py. A skip connection is part of the
decoder: the gated SAE's auxiliary loss does not train it. Adam has beta1 0, beta2 0.999, eps 1e-8; d_in=7, d_out=9, n=24,
B=16, k=3, k_aux=2, coefficient 1/4. A feature is dead before a step if it has not fired on the last 24 rows or more.

    x [10, B, d_in], y [10, B, d_out], lr [10], l1 [10]
    ARCH/start/P                            each parameter before (float32)
    ARCH[-skip]/P                           and after ten steps
    ARCH[-skip]/{mse, l1_term, aux, l0}  [10]
"""
from functools import partial

import torch
from torch.nn.functional import normalize, relu

from golden import save
from golden_steps import disagreement, train_steps
from golden_topk import aux_k, largest

STEPS, B, D_IN, D_OUT, N, K, K_AUX, COEFFICIENT, WINDOW = 10, 16, 7, 9, 24, 3, 2, 1 / 4, 24
ARCHITECTURES = ['standard', 'gated', 'topk']


def decode(P, f, x):
    return f @ P['W_dec'] + P['b_dec'] + (x @ P['W_skip'].T if 'W_skip' in P else 0)


def losses(arch, P, x, y, l1, dead):
    p = x @ P['W_enc']
    aux = penalty = torch.zeros((), dtype=x.dtype)
    if arch == 'gated':
        g = relu(p + P['b_gate'])
        f = (g > 0) * relu(P['r_mag'].exp() * p + P['b_mag'])
        penalty = l1 * g.sum(-1).mean()
        aux = (y - decode({name: v.detach() for name, v in P.items()}, g, x)).square().sum(-1).mean()
    else:
        h = p + P['b_enc']
        f = relu(h) if arch == 'standard' else largest(h, K)
        if arch == 'standard':
            penalty = l1 * f.sum(-1).mean()
    y_hat = decode(P, f, x)
    if arch == 'topk':
        aux = aux_k(P, h, dead, (y - y_hat).detach(), y, K_AUX, COEFFICIENT)
    return dict(mse=(y - y_hat).square().sum(-1).mean(), l1_term=penalty, aux=aux,
                l0=(f > 0).sum(-1).to(x.dtype).mean()), f


def train(arch, start, data, lr):
    """data are x, y and, at every step, l1 for each row"""
    return train_steps(lambda P, x, y, l1, dead: losses(arch, P, x, y, l1[0], dead), start, data, lr, WINDOW)


def random_start(arch, randn):
    start = dict(W_enc=0.5 * randn(D_IN, N), W_dec=normalize(randn(N, D_OUT), dim=-1), b_dec=0.3 * randn(D_OUT))
    if arch == 'gated':
        return start | dict(b_gate=-0.4 + 0.3 * randn(N), b_mag=-0.2 + 0.3 * randn(N), r_mag=0.3 * randn(N))
    return start | dict(b_enc=(-0.4 if arch == 'standard' else 0) + 0.4 * randn(N))


def make_transcoder():
    randn = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = randn(STEPS, B, D_IN) + 0.5 * randn(D_IN)
    y = x @ randn(D_IN, D_OUT) * 0.5 + randn(STEPS, B, D_OUT)
    lr = 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64)
    l1 = 0.3 * torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)[1:]
    data = x, y, l1[:, None].expand(-1, B)
    out = dict(x=x, y=y, lr=lr, l1=l1)
    for arch in ARCHITECTURES:
        for seed in range(1, 100_000):
            randn = partial(torch.randn, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            # As the test reads it.
            start = {name: p.float().double() for name, p in random_start(arch, randn).items()}
            skip = start | dict(W_skip=(0.3 * randn(D_OUT, D_IN)).float().double())
            cases = {arch: start, f'{arch}-skip': skip}
            results = {case: train(arch, P, data, lr) for case, P in cases.items()}
            if arch == 'topk' and not all(history['aux'][-1] > 0 for _, history in results.values()):
                continue
            if all(disagreement(lambda P, rows: train(arch, P, rows, lr)[0], cases[case], data, final) < 5e-6
                   for case, (final, _) in results.items()):
                break
        else:
            raise SystemExit('no seed has float32 agree with float64')
        out |= {f'{arch}/start/{name}': p.float() for name, p in skip.items()}
        for case, (final, history) in results.items():
            out |= {f'{case}/{name}': p for name, p in (final | history).items()}
            print(f'{case}, seed {seed}: ' + ', '.join(f'{name} {v[0]:.3f} -> {v[-1]:.3f}' for name, v in history.items()))
    save('transcoder', out)
