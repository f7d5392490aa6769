"""Hold the peers of train_step.py to an independent float64 computation; run by hand after changing them.

    python bench/peers/check_train_step.py

The loss is written out again here, token by token, with a decoder that is frozen by being a different constant tensor
instead of a detached view; gradients are torch.autograd.grad's, and projection, Adam and normalisation are formulas.
Compared are the first loss and each parameter after a few steps: one step would not see Adam's memory. SAELens trains
another objective (see its file), so that only its first loss is compared; and so it is with the published trainers of
the other architectures.
"""
import importlib

import numpy as np
import torch

from start_parameters import parameters as parameters_of, prefixes
from train_step import CONTENDERS

D, N, B, STEPS, LR, L1 = 24, 80, 64, 4, 1e-3, 0.7
SAME_MATHS = ('pytorch-eager', 'pytorch-compile', 'dictionary_learning')


def problem():
    """-> float32 start, batches [STEPS, B, D] in which every parameter matters: all of them differ from 0, and the
    magnitude path cuts some of what the gate lets through"""
    rng = np.random.default_rng(0)
    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    W_dec = torch.nn.functional.normalize(normal(N, D), dim=-1)
    start = dict(W_enc=(W_dec + 0.1 * normal(N, D)).T.contiguous(), W_dec=W_dec, b_gate=0.3 * normal(N) - 1,
                 b_mag=0.3 * normal(N) - 1, r_mag=0.3 * normal(N), b_dec=0.3 * normal(D))
    return start, normal(STEPS, B, D)


def reference_loss(P, decoder, x):
    """P: float64 parameters, decoder: (W_dec, b_dec) as constants, x [B, D]. -> mean loss, features per token"""
    total, active = 0, 0
    for token in x:
        centred = token - P['b_dec']
        pi_gate = P['W_enc'].T @ centred + P['b_gate']
        W_mag = P['W_enc'] * torch.exp(P['r_mag'])  # the paper's tying of the two encoders, eq. 6
        pi_mag = W_mag.T @ centred + P['b_mag']
        on = torch.where(pi_gate > 0, torch.ones_like(pi_gate), torch.zeros_like(pi_gate))
        f = on * pi_mag.clamp(min=0)
        g = pi_gate.clamp(min=0)
        error = token - P['W_dec'].T @ f - P['b_dec']
        error_aux = token - decoder[0].T @ g - decoder[1]
        total = total + error @ error + L1 * g.sum() + error_aux @ error_aux
        active += (f > 0).sum().item()
    return total / len(x), active / len(x)


def reference(start, batches):
    """-> first loss, L0 of the last step, parameters after all steps, each step's gradients by parameter"""
    P = {name: p.double().requires_grad_() for name, p in start.items()}
    second = {name: torch.zeros_like(p) for name, p in P.items()}
    losses, history = [], []
    for t, x in enumerate(batches.double(), 1):
        decoder = [torch.tensor(P[name].tolist(), dtype=torch.float64) for name in ('W_dec', 'b_dec')]
        loss, l0 = reference_loss(P, decoder, x)
        grads = dict(zip(P, torch.autograd.grad(loss, P.values())))
        W = P['W_dec'].detach()
        along = torch.einsum('jd,jd->j', grads['W_dec'], W) / torch.einsum('jd,jd->j', W, W)
        grads['W_dec'] = grads['W_dec'] - along[:, None] * W
        losses.append(loss.item())
        history.append(grads)
        for name, p in P.items():
            second[name] = 0.999 * second[name] + 0.001 * grads[name] ** 2
            moved = p.detach() - LR * grads[name] / ((second[name] / (1 - 0.999 ** t)).sqrt() + 1e-8)
            if name == 'W_dec':
                moved = moved / moved.square().sum(-1, keepdim=True).sqrt()
            P[name] = moved.requires_grad_()
    return losses[0], l0, {name: p.detach() for name, p in P.items()}, history


def parameters(contender, peer):
    """-> a contender's parameters by our names and in our shapes"""
    if contender.startswith('pytorch'):
        return peer.P
    ae = peer.trainer.ae
    return dict(W_enc=ae.encoder.weight.T, W_dec=ae.decoder.weight.T, b_gate=ae.gate_bias, b_mag=ae.mag_bias,
                r_mag=ae.r_mag, b_dec=ae.decoder_bias)


def check_topk(start, batches, k=7):
    """The peer's first loss, against a float64 one token by token: without dead features, and with every third dead."""
    from peer_topk import ALPHA, DEAD, TopK
    peer = TopK({name: p.clone() for name, p in start.items()}, lr=LR, l1=0, n_steps=1, batch_size=B, k=k)
    P = {name: p.detach().double() for name, p in peer.P.items()}
    x = batches[0].double()
    for dead in ((), range(0, N, 3)):
        peer.since[list(dead)] = DEAD
        errors, offs = [], []
        for token in x:
            h = (P['W_enc'].T @ (token - P['b_dec']) + P['b_enc']).tolist()
            def decoded(features, most):
                best = sorted((j for j in features if h[j] > 0), key=lambda j: -h[j])[:most]
                return sum((h[j] * P['W_dec'][j] for j in best), torch.zeros(D, dtype=torch.float64))
            e = token - P['b_dec'] - decoded(range(N), k)
            errors.append(e)
            offs.append(((e - decoded(dead, D // 2)) ** 2).sum())
        errors, offs = torch.stack(errors), torch.stack(offs)
        loss = (errors ** 2).sum() / B
        if dead:
            loss = loss + ALPHA * offs.mean() * x.var(0, correction=0).sum() / errors.var(0, correction=0).sum()
        difference = abs(peer.loss(batches[0]) / loss.item() - 1)
        assert difference < 1e-6, ('pytorch-topk', len(dead), difference)
        print(f'pytorch-topk, {len(dead)} dead features: loss differs by {difference:.0e}')


def dense_features(architecture, P, x, k):
    """-> f [B, N] in float64, by sorting"""
    h = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    if architecture == 'jumprelu':
        return h * (h > P['threshold'])
    h = h.clamp(min=0)
    if architecture == 'standard':
        return h
    rows = h if architecture == 'topk' else h.reshape(1, -1)
    most = k if architecture == 'topk' else k * len(x)
    least = rows.sort(-1, descending=True).values[:, most - 1:most]
    return (rows * (rows >= least)).reshape(h.shape)


def check_published(start, batches, k=7):
    """First losses without a penalty of all architectures but the gated one; each trainer has a unit for its loss."""
    x = batches[0]
    # dictionary_learning's JumpReLU encodes x, not x - b_dec; and no threshold is below 0
    start = dict(start, b_dec=torch.zeros_like(start['b_dec']), b_gate=start['b_gate'].clamp(max=-0.1))
    for architecture in ('standard', 'topk', 'batchtopk', 'jumprelu', 'matryoshka'):
        P = {name: p.double() for name, p in parameters_of(start, architecture).items()}
        f = dense_features(architecture, P, x.double(), k)
        levels = prefixes(N) if architecture == 'matryoshka' else [N]
        loss = sum((x.double() - f[:, :m] @ P['W_dec'][:m] - P['b_dec']).square().sum(-1).mean() for m in levels).item()
        units = dict(saelens=1, dictionary_learning=1 / len(levels) ** 2)  # the latter: a mean of weighted levels
        if architecture == 'topk':
            units['sparsify'] = 1
        for contender, unit in units.items():
            module, name = CONTENDERS[contender].split(':')
            peer = getattr(importlib.import_module(module), name)(
                {name: p.clone() for name, p in start.items()}, lr=LR, l1=0, n_steps=1, batch_size=B,
                architecture=architecture, k=k)
            off, l0 = abs(peer.loss(x) / (loss * unit) - 1), peer.l0(x)
            assert off < 1e-5, (contender, architecture, off)
            expected = (f > 0).sum().item() / B
            assert abs(l0 - expected) < 1.5 / B, (contender, architecture, l0, expected)
            print(f'{contender}, {architecture}: loss differs by {off:.0e}')


def main():
    torch.set_num_threads(1)
    start, batches = problem()
    loss, l0, final, history = reference(start, batches)
    print(f'float64: loss {loss:.6f}, L0 {l0:.3f}')
    # Adam's first steps are about lr * sign(gradient): a gradient that float32 cannot tell from 0 may move either
    # way, and does not test the maths. Few may be left out for that
    sure = {}
    for name, p in final.items():
        sizes = torch.stack([g[name].abs() for g in history])
        sure[name] = ((sizes == 0) | (sizes > 1e-4 * sizes.max())).all(0)
        assert sure[name].double().mean() > 0.98, name
    check_topk(start, batches)
    for contender in (*SAME_MATHS, 'saelens'):
        module, name = CONTENDERS[contender].split(':')
        make = getattr(importlib.import_module(module), name)
        peer = make({k: v.clone() for k, v in start.items()}, lr=LR, l1=L1, n_steps=STEPS, batch_size=B)
        difference = abs(peer.loss(batches[0]) / loss - 1)
        assert difference < 1e-6, (contender, difference)
        line = f'{contender}: loss differs by {difference:.0e}'
        if contender in SAME_MATHS:
            for i, x in enumerate(batches):
                if i == STEPS - 1:
                    assert abs(peer.l0(x) - l0) < 1.5 / B, (contender, peer.l0(x), l0)
                peer.step(x)
            # in units of the learning rate, which is about what an entry moves in a step
            off = {k: ((p.detach() - final[k]).abs()[sure[k]].max() / LR).item()
                   for k, p in parameters(contender, peer).items()}
            assert max(off.values()) < 1e-3, (contender, off)
            line += ', parameters by ' + ', '.join(f'{k} {v:.0e}' for k, v in off.items()) + ' of a step'
        print(line)
    check_published(start, batches)  # last: some packages change torch as they load


if __name__ == '__main__':
    main()
