"""Make test/golden/batchtopk.safetensors: ten training steps of a BatchTopK SAE with AuxK (Bussmann et al. 2024), in
float64.

    python scripts/golden.py --only batchtopk        # from the repo root; see golden.py for what to install

The problem, Adam, the cases and their keys are those of golden_topk.py, with the k * B largest of the batch in place of
the k largest of each token, and

    CASE/threshold [n]      after ten steps; a step's share is 0.01, and it begins at 0
    CASE/fewest, CASE/most [10]     of the features of a token
"""
import torch
from torch.nn.functional import relu

from golden import adam_step, decode, save
from golden_topk import CASES, K, N, WINDOW, disagreement, largest, random_problem, variance


def largest_of_batch(pre):
    """The k * B largest of ReLU(pre), where they are"""
    flat = relu(pre).flatten()
    values, indices = flat.topk(K * len(pre))
    return torch.zeros_like(flat).scatter(0, indices, values).reshape(pre.shape)


def losses(P, x, dead, k_aux, coefficient):
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = largest_of_batch(h)
    x_hat = decode(P, f)
    e = (x - x_hat).detach()
    aux = torch.zeros((), dtype=x.dtype)
    if dead.any() and coefficient > 0 and variance(e) > 0:
        z = largest(torch.where(dead, h, -torch.inf), min(k_aux, int(dead.sum())))
        aux = coefficient * (e - z @ P['W_dec']).square().sum(-1).mean() * variance(x) / variance(e)
    count = (f > 0).sum(-1).to(x.dtype)
    return dict(mse=(x - x_hat).square().sum(-1).mean(), aux=aux, l0=count.mean(), fewest=count.min(), most=count.max(),
                dead=dead.sum().to(x.dtype)), f.detach()


def train(case, start, batches, lr):
    P = {name: p.clone().requires_grad_() for name, p in start.items()}
    adam = torch.optim.Adam(P.values(), betas=(0., 0.999), eps=1e-8)
    since, threshold = torch.zeros(N), torch.zeros((), dtype=batches.dtype)
    history = []
    for x, lr_t in zip(batches, lr):
        terms, f = losses(P, x, since >= WINDOW, *CASES[case])
        history.append({name: v.detach() for name, v in terms.items()})
        adam_step(adam, P['W_dec'], terms['mse'] + terms['aux'], lr_t)
        since = torch.where((f > 0).any(0), 0, since + len(x))
        threshold = 0.99 * threshold + 0.01 * f[f > 0].min()
    final = {name: p.detach() for name, p in P.items()} | dict(threshold=threshold.expand(N).contiguous())
    return final, {name: torch.stack([h[name] for h in history]) for name in history[0]}


def make_batchtopk():
    for seed in range(100_000):
        start, data = random_problem(seed)
        results = {case: train(case, start, *data) for case in CASES}
        history = results['few'][1]
        # Dead features come and go, more of them than k_aux; some tokens have many features, some few.
        if not (history['dead'].max() > 4 and len(history['dead'].unique()) > 3 and history['aux'][-1] > 0
                and history['fewest'].min() == 0 and history['most'].max() > 2 * K):
            continue
        if all(disagreement(case, start, data, final, train) < 5e-6 for case, (final, _) in results.items()):
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
    save('batchtopk', out)
