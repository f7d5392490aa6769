"""Make test/golden/matryoshka.safetensors: ten training steps of a Matryoshka BatchTopK SAE with AuxK (Bussmann et al.
2025), in float64.

    python scripts/golden.py --only matryoshka        # from the repo root; see golden.py for what to install

The problem, Adam and the keys are those of golden_batchtopk.py. The first 5, 6 and 14 of the 24 features reconstruct by
themselves, too, and `aux` is what the loss has in addition to |x - x_hat|^2 of all of them.

Cases: sum (SAELens's: weights 1), weighted (2, 1/2, 1, 1/4), plain (weights 1, no AuxK).
"""
from golden import save
from golden_batchtopk import largest_of_batch
from golden_steps import Threshold, collected, first_agreeing, train_steps
from golden_topk import D, N, WINDOW, aux_k, moved, random_problem

WIDTHS = (5, 6, 14, N)
CASES = dict(sum=((1, 1, 1, 1), D // 2, 1 / 32), weighted=((2, 1 / 2, 1, 1 / 4), 2, 1 / 4),
             plain=((1, 1, 1, 1), D // 2, 0.))


def losses(P, x, dead, weights, k_aux, coefficient):
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = largest_of_batch(h)
    errors = [x - (f[:, :m] @ P['W_dec'][:m] + P['b_dec']) for m in WIDTHS]
    mse = [e.square().sum(-1).mean() for e in errors]
    aux = sum(w * m for w, m in zip(weights, mse)) - mse[-1]
    aux = aux + aux_k(P, h, dead, errors[-1].detach(), x, k_aux, coefficient)
    return dict(mse=mse[-1], aux=aux, l0=(f > 0).sum(-1).to(x.dtype).mean(), dead=dead.sum().to(x.dtype)), f


def train(case, start, data, lr):
    threshold = Threshold(data[0].dtype)
    final, history = train_steps(lambda P, x, dead: losses(P, x, dead, *CASES[case]), start, data, lr, WINDOW,
                                 threshold.follow)
    return final | dict(threshold=threshold.value.expand(N).contiguous()), history


def make_matryoshka():
    def wanted(results):
        history = results['weighted'][1]
        return history['dead'].max() > 4 and len(history['dead'].unique()) > 3

    seed, (start, data, lr), results = first_agreeing(random_problem, train, CASES, wanted)
    out = collected(start, results, batches=data[0], lr=lr)
    for a, b in (('sum', 'plain'), ('sum', 'weighted')):
        assert moved(results, a, b) > 1e-3, f'{a} and {b} are the same'
    print(f'seed {seed}')
    save('matryoshka', out)
