"""sparsify (EleutherAI): its TopK `SparseCoder`, whose encoder's backward touches the k features of each token alone.

Its trainer runs inside a model's forward hook, which a benchmark of steps has none of; what that hook and the loop
around it do with a batch of activations is done here in the same order, with the trainer's own optimiser and settings
(schedule-free sign SGD of momentum 0.95, no auxiliary loss): unit rows, forward, the reading of the loss, backward,
tangent gradients, step. The loss is the fraction of variance unexplained.
"""
from importlib.metadata import version

import torch
from schedulefree import ScheduleFreeWrapper
from sparsify.config import SparseCoderConfig
from sparsify.sign_sgd import SignSGD
from sparsify.sparse_coder import SparseCoder

from start_parameters import parameters


class Published:
    version = f'eai-sparsify {version("eai-sparsify")}'

    def __init__(self, start, lr, l1, n_steps, batch_size, architecture='topk', k=None):
        d, n = start['W_enc'].shape
        self.sae = SparseCoder(d, SparseCoderConfig(num_latents=n, k=k), dtype=torch.float32)
        values = parameters(start, architecture)
        with torch.no_grad():
            for view, name in [(self.sae.encoder.weight.T, 'W_enc'), (self.sae.W_dec, 'W_dec'),
                               (self.sae.encoder.bias, 'b_enc'), (self.sae.b_dec, 'b_dec')]:
                view.copy_(values[name])
        self.optimizer = ScheduleFreeWrapper(SignSGD(self.sae.parameters(), lr=lr), momentum=0.95)
        self.optimizer.train()
        self.fired = torch.zeros(n, dtype=torch.bool)
        self.since = torch.zeros(n, dtype=torch.long)
        self.fvu = 0.0

    def step(self, x):
        self.sae.set_decoder_norm_to_unit_norm()
        out = self.sae(x, y=x, total_variance=(x - x.mean(0)).pow(2).sum())
        self.fired[out.latent_indices.flatten()] = True
        self.fvu = float(out.fvu.detach())
        (out.fvu + out.multi_topk_fvu / 8).backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.since += len(x)
            self.since[self.fired] = 0
            self.fired.zero_()

    @torch.no_grad()
    def loss(self, x):
        """Its loss in our unit: times the variance, mean over the batch."""
        return (self.sae(x).fvu * (x - x.mean(0)).pow(2).sum() / len(x)).item()

    @torch.no_grad()
    def l0(self, x):
        return (self.sae.encode(x).top_acts > 0).sum(-1).float().mean().item()
