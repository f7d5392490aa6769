"""dictionary_learning (Marks, Karvonen, Mueller): its published gated trainer, stepped by its own `update(step, x)`.

Its parametrisation takes all six tensors of a start file, and its maths is ours: frozen decoder in the auxiliary term,
tangent gradient, unit columns of its nn.Linear decoder, Adam with beta1 = 0. What differs is work, not values:
the gradient is projected along a decoder that it normalises once more, and a learning-rate scheduler steps along.
Nothing in the step reads a tensor back, and nothing is logged.
"""
from importlib.metadata import version

import torch
from dictionary_learning.trainers.gdm import GatedSAETrainer


class Published:
    version = f'dictionary-learning {version("dictionary-learning")}'

    def __init__(self, start, lr, l1, n_steps, batch_size):
        d, n = start['W_enc'].shape
        # no ramps: every step at full rate and penalty, like the others. `layer` and `lm_name` are mandatory labels
        self.trainer = GatedSAETrainer(
            steps=n_steps + 1, activation_dim=d, dict_size=n, layer=0, lm_name='none', lr=lr, l1_penalty=l1,
            warmup_steps=0, sparsity_warmup_steps=None, device='cpu')
        self.steps_done = 0
        ae = self.trainer.ae
        # copied into the tensors that its own initialisation made, so that their memory order stays the published one
        with torch.no_grad():
            for parameter, value in [
                    (ae.encoder.weight, start['W_enc'].T), (ae.decoder.weight, start['W_dec'].T),
                    (ae.gate_bias, start['b_gate']), (ae.mag_bias, start['b_mag']), (ae.r_mag, start['r_mag']),
                    (ae.decoder_bias, start['b_dec'])]:
                parameter.copy_(value)

    def step(self, x):
        self.trainer.update(self.steps_done, x)
        self.steps_done += 1

    @torch.no_grad()
    def loss(self, x):
        return self.trainer.loss(x, self.steps_done).item()

    @torch.no_grad()
    def l0(self, x):
        return (self.trainer.ae.encode(x) > 0).sum(-1).float().mean().item()
