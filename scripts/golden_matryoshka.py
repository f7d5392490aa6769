"""Make test/golden/matryoshka.safetensors: ten training steps of a Matryoshka BatchTopK SAE with AuxK (Bussmann et al.
2025), in float64.

    python scripts/golden.py --only matryoshka        # from the repo root; see golden.py for what to install

The problem, Adam and the keys are those of golden_batchtopk.py. The first 5, 6 and 14 of the 24 features reconstruct by
themselves, too, and `aux` is what the loss has in addition to |x - x_hat|^2 of all of them.

Cases: sum (SAELens's: weights 1), weighted (2, 1/2, 1, 1/4), plain (weights 1, no AuxK).
"""
import torch

from golden import adam_step, save
from golden_batchtopk import largest_of_batch
from golden_topk import D, N, WINDOW, disagreement, largest, random_problem, variance

WIDTHS = (5, 6, 14, N)
CASES = dict(sum=((1, 1, 1, 1), D // 2, 1 / 32), weighted=((2, 1 / 2, 1, 1 / 4), 2, 1 / 4),
             plain=((1, 1, 1, 1), D // 2, 0.))


def losses(P, x, dead, weights, k_aux, coefficient):
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = largest_of_batch(h)
    errors = [x - (f[:, :m] @ P['W_dec'][:m] + P['b_dec']) for m in WIDTHS]
    mse = [e.square().sum(-1).mean() for e in errors]
    e = errors[-1].detach()
    aux = sum(w * m for w, m in zip(weights, mse)) - mse[-1]
    if dead.any() and coefficient > 0 and variance(e) > 0:
        z = largest(torch.where(dead, h, -torch.inf), min(k_aux, int(dead.sum())))
        aux = aux + coefficient * (e - z @ P['W_dec']).square().sum(-1).mean() * variance(x) / variance(e)
    return dict(mse=mse[-1], aux=aux, l0=(f > 0).sum(-1).to(x.dtype).mean(), dead=dead.sum().to(x.dtype)), f.detach()


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


def make_matryoshka():
    for seed in range(100_000):
        start, data = random_problem(seed)
        results = {case: train(case, start, *data) for case in CASES}
        history = results['weighted'][1]
        if not (history['dead'].max() > 4 and len(history['dead'].unique()) > 3):
            continue
        if all(disagreement(case, start, data, final, train) < 5e-6 for case, (final, _) in results.items()):
            break
    else:
        raise SystemExit('no seed has float32 agree with float64')
    out = dict(batches=data[0], lr=data[1]) | {name: p.float() for name, p in start.items()}
    for case, (final, history) in results.items():
        out |= {f'{case}/{name}': p for name, p in (final | history).items()}
        print(f'{case}: ' + ', '.join(f'{name} {v[0]:.3f} -> {v[-1]:.3f}' for name, v in history.items()))
    for a, b in (('sum', 'plain'), ('sum', 'weighted')):
        assert (results[a][0]['W_enc'] - results[b][0]['W_enc']).abs().max() > 1e-3, f'{a} and {b} are the same'
    print(f'seed {seed}')
    save('matryoshka', out)
