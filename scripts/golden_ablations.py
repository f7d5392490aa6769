"""Make test/golden/ablations.safetensors: ten training steps of every ablation of the gated SAE, in float64.

    python scripts/golden.py --only ablations        # from the repo root; see golden.py for what to install

Adam has beta1 0, beta2 0.999, eps 1e-8; d=8, n=24, B=16. All cases share batches and start; a case without its own
encoder starts from the gated one.

    batches [10, B, d], lr [10], l1 [10]       l1 is lambda, over sums of squares
    gated/P, gated_untied/P, standard/P        what the cases start from, by architecture
    CASE/P                                     each parameter after ten steps, those that are not trained too
    CASE/{mse, l1_term, aux, l0}  [10]         before each update; l0 counts features with f > 0

Cases: the names of --ablate; combined (unfrozen-decoder, l1-on-f and no-r-mag), rescale-and-shift (the standard SAE as
a gated one of which r_mag and b_mag are trained).
"""
from functools import partial

import torch
from torch.nn.functional import normalize, relu

from golden import adam_step, decode, save

STEPS, B, D, N = 10, 16, 8, 24

# case -> (ablations, start, names that are not trained)
CASES = {
    'untied-encoder': (['untied-encoder'], 'gated_untied', []),
    'no-r-mag': ([], 'no_r_mag', ['r_mag']),
    'unfrozen-decoder': (['unfrozen-decoder'], 'gated', []),
    'no-auxiliary': (['no-auxiliary'], 'gated', []),
    'l1-on-f': (['l1-on-f'], 'gated', []),
    'combined': (['unfrozen-decoder', 'l1-on-f'], 'no_r_mag', ['r_mag']),
    'rescale-and-shift': ([], 'baseline', ['W_enc', 'W_dec', 'b_dec', 'b_gate']),
}


def losses(ablations, P, x, l1):
    """Equation 8 of arXiv 2404.16014, as the ablations change it; terms as in golden.py"""
    centred = x - P['b_dec']
    pi = centred @ P['W_enc'] + P['b_gate']
    if 'untied-encoder' in ablations:
        magnitude = centred @ P['W_mag'] + P['b_mag']
    else:
        magnitude = centred @ (P['W_enc'] * P['r_mag'].exp()) + P['b_mag']
    f, g = (pi > 0) * relu(magnitude), relu(pi)
    auxiliary_decoder = P if 'unfrozen-decoder' in ablations else {name: p.detach() for name, p in P.items()}
    aux = (x - decode(auxiliary_decoder, g)).square().sum(-1).mean()
    terms = dict(
        mse=(x - decode(P, f)).square().sum(-1).mean(),
        l0=(f > 0).sum(-1).to(x.dtype).mean(),
        l1_term=l1 * (f if 'l1-on-f' in ablations else g).sum(-1).mean(),
        aux=torch.zeros_like(aux) if 'no-auxiliary' in ablations else aux)
    terms['loss'] = terms['mse'] + terms['l1_term'] + terms['aux']
    return terms


def train(case, starts, batches, lr, l1):
    ablations, start, frozen = CASES[case]
    P = {name: p.clone().requires_grad_(name not in frozen) for name, p in starts[start].items()}
    adam = torch.optim.Adam([p for p in P.values() if p.requires_grad], betas=(0., 0.999), eps=1e-8)
    history = []
    for x, lr_t, l1_t in zip(batches, lr, l1):
        terms = losses(ablations, P, x, l1_t)
        history.append({name: v.detach() for name, v in terms.items() if name != 'loss'})
        adam_step(adam, P['W_dec'], terms['loss'], lr_t)
    final = {name: p.detach() for name, p in P.items()}
    return final, {name: torch.stack([h[name] for h in history]) for name in history[0]}


def random_problem(seed):
    rng = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=rng, dtype=torch.float64)
    W_dec = normalize(randn(N, D), dim=-1)
    W_enc = (0.6 * (W_dec + 0.2 * randn(N, D))).T
    shared = dict(W_enc=W_enc, W_dec=W_dec, b_dec=0.3 * randn(D))
    biases = dict(b_gate=-0.5 + 0.3 * randn(N), b_mag=-0.4 + 0.3 * randn(N))
    r_mag = 0.3 * randn(N)
    b_enc = -0.5 + 0.3 * randn(N)
    saved = dict(
        gated=shared | biases | dict(r_mag=r_mag),
        gated_untied=shared | biases | dict(W_mag=W_enc * r_mag.exp() + 0.1 * randn(D, N)),
        standard=shared | dict(b_enc=b_enc))
    zero = dict(r_mag=torch.zeros_like(r_mag))
    starts = saved | dict(no_r_mag=saved['gated'] | zero, baseline=shared | dict(b_gate=b_enc, b_mag=b_enc) | zero)
    batches = randn(STEPS, B, D) + 0.5 * randn(D)
    lr = 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64)
    l1 = 0.3 * torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)[1:]
    return saved, starts, (batches, lr, l1)


def disagreement(case, starts, data, final):
    """Largest relative difference of a float32 run from float64, over some orders of the rows; see golden.py"""
    batches, lr, l1 = data
    worst = 0.
    for order in range(4):
        rows = torch.randperm(B, generator=torch.Generator().manual_seed(order)) if order else torch.arange(B)
        starts32 = {start: {name: p.float() for name, p in P.items()} for start, P in starts.items()}
        final32, _ = train(case, starts32, batches[:, rows].float(), lr, l1)
        for name, p in final.items():
            worst = max(worst, ((final32[name] - p).abs().max() / p.abs().max().clamp(min=1e-30)).item())
    return worst


def make_ablations():
    # the first start from which float32 agrees in every case, so that a failing test means wrong maths
    for seed in range(100_000):
        saved, starts, data = random_problem(seed)
        results = {}
        for case in CASES:
            results[case] = train(case, starts, *data)
            if disagreement(case, starts, data, results[case][0]) > 5e-6:
                break
        else:
            break
    else:
        raise SystemExit('no seed has float32 agree with float64')

    out = dict(zip(('batches', 'lr', 'l1'), data))
    for start, P in saved.items():
        out |= {f'{start}/{name}': p.float() for name, p in P.items()}
    for case, (final, history) in results.items():
        out |= {f'{case}/{name}': p for name, p in (final | history).items()}
        _, start, frozen = CASES[case]
        moved = {name: (p - starts[start][name]).abs().max().item() for name, p in final.items()}
        assert all((move > 0) == (name not in frozen) for name, move in moved.items()), (case, moved)
        print(f'{case}: ' + ', '.join(f'{name} {v[0]:.3f} -> {v[-1]:.3f}' for name, v in history.items()))
    print(f'seed {seed}')
    save('ablations', out)
