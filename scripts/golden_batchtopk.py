"""Make test/golden/batchtopk.safetensors: ten training steps of a BatchTopK SAE with AuxK (Bussmann et al. 2024), in
float64.

    python scripts/golden.py --only batchtopk        # from the repo root; see golden.py for what to install

The problem, Adam, the first three cases and their keys are those of golden_topk.py, with the k * B largest of the batch in place of
the k largest of each token, and

    CASE/threshold [n]      after ten steps; a step's share is 0.01, and it begins at 0
    CASE/fewest, CASE/most [10]     of the features of a token
"""
import torch
from torch.nn.functional import relu

from golden import decode, save
from golden_steps import Threshold, collected, first_agreeing, train_steps
from golden_topk import D, K, N, WINDOW, aux_k, moved, random_problem

CASES = dict(usual=(D // 2, 1 / 32), few=(2, 1 / 4), none=(D // 2, 0.))


def largest_of_batch(pre):
    """The k * B largest of ReLU(pre), where they are"""
    flat = relu(pre).flatten()
    values, indices = flat.topk(K * len(pre))
    return torch.zeros_like(flat).scatter(0, indices, values).reshape(pre.shape)


def losses(P, x, dead, k_aux, coefficient):
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    f = largest_of_batch(h)
    x_hat = decode(P, f)
    aux = aux_k(P, h, dead, (x - x_hat).detach(), x, k_aux, coefficient)
    count = (f > 0).sum(-1).to(x.dtype)
    return dict(mse=(x - x_hat).square().sum(-1).mean(), aux=aux, l0=count.mean(), fewest=count.min(), most=count.max(),
                dead=dead.sum().to(x.dtype)), f


def train(case, start, data, lr):
    threshold = Threshold(data[0].dtype)
    final, history = train_steps(lambda P, x, dead: losses(P, x, dead, *CASES[case]), start, data, lr, WINDOW,
                                 threshold.follow)
    return final | dict(threshold=threshold.value.expand(N).contiguous()), history


def make_batchtopk():
    def wanted(results):
        # Dead features come and go, more of them than k_aux; some tokens have many features, some few.
        history = results['few'][1]
        return (history['dead'].max() > 4 and len(history['dead'].unique()) > 3 and history['aux'][-1] > 0
                and history['fewest'].min() == 0 and history['most'].max() > 2 * K)

    seed, (start, data, lr), results = first_agreeing(random_problem, train, CASES, wanted)
    out = collected(start, results, batches=data[0], lr=lr)
    assert moved(results, 'few', 'none') > 1e-3, 'the auxiliary loss changes nothing'
    print(f'seed {seed}')
    save('batchtopk', out)
