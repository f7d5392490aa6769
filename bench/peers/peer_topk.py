"""A TopK SAE with AuxK (Gao et al. 2024) in plain PyTorch, as our engines compute it.

    h = (x - b_dec) W_enc + b_enc, f = the k largest of relu(h) of each token
    loss = mean_b( |x - xhat|^2 + alpha * |e - ehat|^2 * var(x) / var(e) )

with e = x - xhat and both variances as constants, ehat = z W_dec, z the d / 2 largest of relu(h) among features that
have not fired for DEAD tokens; rows of W_dec on the unit sphere, Adam with beta1 = 0. Shapes as in peer_torch.py.
"""
import torch

from peer_torch import Eager

ALPHA, DEAD = 1 / 32, 1_000_000


def largest(h, k):
    """-> h [B, n] with all but each token's k largest, and what is below 0, set to 0"""
    values, index = torch.relu(h).topk(k, dim=-1, sorted=False)
    return torch.zeros_like(h).scatter(-1, index, values)


def variance(rows):
    return (rows - rows.mean(0)).square().sum(-1).mean()


class TopK(Eager):
    def __init__(self, start, lr, l1, n_steps, batch_size, k, architecture='topk'):
        n = len(start['W_dec'])
        super().__init__(dict(W_enc=start['W_enc'], W_dec=start['W_dec'], b_dec=start['b_dec'], b_enc=torch.zeros(n)),
                         lr, l1, n_steps, batch_size)
        self.k, self.since = k, torch.zeros(n)

    def encode(self, x):
        h = (x - self.P['b_dec']) @ self.P['W_enc'] + self.P['b_enc']
        return h, largest(h, self.k)

    def forward(self, x):
        h, f = self.encode(x)
        error = x - (f @ self.P['W_dec'] + self.P['b_dec'])
        loss = error.square().sum(-1).mean()
        dead = (self.since >= DEAD).nonzero()[:, 0]
        if len(dead):
            e = error.detach()
            z = largest(h[:, dead], min(x.shape[1] // 2, len(dead)))
            off = (e - z @ self.P['W_dec'][dead]).square().sum(-1).mean()
            loss = loss + ALPHA * off * variance(x) / variance(e)
        with torch.no_grad():
            self.since = torch.where((f > 0).any(0), 0, self.since + len(x))
        return loss

    @torch.no_grad()
    def loss(self, x):
        return self.forward(x).item()

    @torch.no_grad()
    def l0(self, x):
        return (self.encode(x)[1] > 0).sum(-1).float().mean().item()
