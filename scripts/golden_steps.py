"""Training steps in float64 that several golden_*.py have in common: Adam on a loss that knows which features are dead,
and the search for a problem on which float32 agrees."""
import torch

from golden import adam_step

# Of what a loss may return, the terms that train.
TERMS = ('mse', 'l1_term', 'aux')


def train_steps(losses, start, data, lr, window, after=lambda P, f: None):
    """-> parameters after all steps, and the terms of losses() at every step

    losses(P, *rows, dead) -> terms, f [B, n]; rows are those of data at a step. A feature is dead before a step if it has
    not fired on the last `window` rows or more. after(P, f) comes when parameters have moved. Adam has beta1 0."""
    P = {name: p.clone().requires_grad_() for name, p in start.items()}
    adam = torch.optim.Adam(P.values(), betas=(0., 0.999), eps=1e-8)
    since = torch.zeros(len(start['W_dec']))
    history = []
    for lr_t, *rows in zip(lr, *data):
        terms, f = losses(P, *rows, since >= window)
        history.append({name: v.detach() for name, v in terms.items()})
        adam_step(adam, P['W_dec'], sum(terms[name] for name in TERMS if name in terms), lr_t)
        with torch.no_grad():
            after(P, f.detach())
        since = torch.where((f > 0).any(0), 0, since + len(f))
    return ({name: p.detach() for name, p in P.items()},
            {name: torch.stack([h[name] for h in history]) for name in history[0]})


class Threshold:
    """What BatchTopK's threshold becomes: the running mean of the smallest f > 0 of a batch."""

    def __init__(self, dtype):
        self.value = torch.zeros((), dtype=dtype)

    def follow(self, P, f):
        self.value = 0.99 * self.value + 0.01 * f[f > 0].min()


def disagreement(train, start, data, final, orders=4):
    """Largest relative difference of float32 runs from float64, over some orders of the rows; see golden.py

    train(start, data) -> parameters; data are arrays [steps, B, ...]"""
    worst = 0.
    batch = data[0].shape[1]
    for order in range(orders):
        rows = torch.randperm(batch, generator=torch.Generator().manual_seed(order)) if order else torch.arange(batch)
        final32 = train({name: p.float() for name, p in start.items()}, [values[:, rows].float() for values in data])
        for name, p in final.items():
            worst = max(worst, ((final32[name] - p).abs().max() / p.abs().max()).item())
    return worst


def first_agreeing(problem, train, cases, wanted):
    """-> the seed, the problem and the results of the first problem with what is wanted on which float32 agrees

    problem(seed) -> start, data, lr; train(case, start, data, lr) -> final, history; wanted(results) -> bool"""
    for seed in range(100_000):
        start, data, lr = problem(seed)
        results = {case: train(case, start, data, lr) for case in cases}
        if not wanted(results):
            continue
        if all(disagreement(lambda P, rows: train(case, P, rows, lr)[0], start, data, final) < 5e-6
               for case, (final, _) in results.items()):
            return seed, (start, data, lr), results
    raise SystemExit('no seed has float32 agree with float64')


def collected(start, results, **given):
    """-> the tensors of a golden file, whose figures are printed"""
    out = given | {name: p.float() for name, p in start.items()}
    for case, (final, history) in results.items():
        out |= {f'{case}/{name}': p for name, p in (final | history).items()}
        print(f'{case}: ' + ', '.join(f'{name} {v[0]:.3f} -> {v[-1]:.3f}' for name, v in history.items()))
    return out
