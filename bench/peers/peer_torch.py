"""The Gated SAE of Rajamanoharan et al. 2024 in plain PyTorch, as our engines compute it: the first term to compare.

    loss = mean_b( |x - xhat|^2 + l1 * sum_j relu(pi_gate) + |x - xhat_aux|^2 )

with sums over d and n, the encoder tied, the decoder (W_dec and b_dec) frozen in xhat_aux, rows of W_dec on the unit
sphere, Adam with beta1 = 0. Shapes: x [B, d], W_enc [d, n], W_dec [n, d], b_gate, b_mag, r_mag [n], b_dec [d].
"""
import torch

VERSION = f'torch {torch.__version__}'


def encode(P, x):
    """-> features f [B, n], the gate's relu(pi_gate) [B, n]"""
    p = (x - P['b_dec']) @ P['W_enc']
    pi = p + P['b_gate']
    # tied weights: the magnitude path is the same product, scaled
    f = (pi > 0) * torch.relu(P['r_mag'].exp() * p + P['b_mag'])
    return f, torch.relu(pi)


def gated_loss(P, x, l1):
    f, g = encode(P, x)
    x_hat = f @ P['W_dec'] + P['b_dec']
    x_hat_aux = g @ P['W_dec'].detach() + P['b_dec'].detach()
    mse = (x - x_hat).square().sum(-1).mean()
    aux = (x - x_hat_aux).square().sum(-1).mean()
    return mse + l1 * g.sum(-1).mean() + aux


class Eager:
    """No compilation, Adam with PyTorch's default choice of loop, gradients by autograd."""
    version = VERSION

    def __init__(self, start, lr, l1, n_steps, batch_size):
        self.P = {name: p.clone().requires_grad_() for name, p in start.items()}
        self.l1 = l1
        self.adam = torch.optim.Adam(self.P.values(), lr=lr, betas=(0.0, 0.999), eps=1e-8)

    def forward(self, x):
        return gated_loss(self.P, x, self.l1)

    @torch.no_grad()
    def update(self):
        W = self.P['W_dec']
        W.grad -= (W.grad * W).sum(-1, keepdim=True) * W  # tangent to the sphere; rows of W have norm 1
        self.adam.step()
        W /= W.norm(dim=-1, keepdim=True)

    def step(self, x):
        self.adam.zero_grad()
        self.forward(x).backward()
        self.update()

    @torch.no_grad()
    def loss(self, x):
        return gated_loss(self.P, x, self.l1).item()

    @torch.no_grad()
    def l0(self, x):
        return (encode(self.P, x)[0] > 0).sum(-1).float().mean().item()


class Compiled(Eager):
    """The same step through torch.compile: one graph for the loss with its backward, one for all that follows."""

    def __init__(self, start, lr, l1, n_steps, batch_size):
        super().__init__(start, lr, l1, n_steps, batch_size)
        self.forward = torch.compile(self.forward, dynamic=False)
        self.update = torch.compile(self.update, dynamic=False)


class Product:
    """The encoder's product alone, p = (x - b_dec) W_enc, into memory that is there already: what a step that avoids
    every other dense product would still have to pay."""
    version = VERSION

    def __init__(self, start, lr, l1, n_steps, batch_size):
        self.W_enc, self.b_dec = start['W_enc'], start['b_dec']
        d, n = self.W_enc.shape
        self.centred, self.p = self.W_enc.new_empty(batch_size, d), self.W_enc.new_empty(batch_size, n)

    @torch.no_grad()
    def step(self, x):
        torch.sub(x, self.b_dec, out=self.centred)
        torch.mm(self.centred, self.W_enc, out=self.p)

    def loss(self, x):
        return None

    def l0(self, x):
        return None
