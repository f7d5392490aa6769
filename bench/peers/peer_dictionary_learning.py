"""dictionary_learning (Marks, Karvonen, Mueller): its published trainers, stepped by their own `update(step, x)`.

The gated one takes all six tensors of a start file, and its maths is ours: frozen decoder in the auxiliary term, tangent
gradient, unit columns of its nn.Linear decoder, Adam with beta1 = 0. What differs is work, not values: the gradient is
projected along a decoder that it normalises once more, and a learning-rate scheduler steps along. The others are its
trainers as they are (standard and those that keep the k largest: Adam's beta1 0.9, which is written into them; those
and jumprelu clip gradients), without ramps: every step at full rate and penalty. Their `update` reads the loss back.
jumprelu penalises ((L0 / T) - 1)^2 with T the L0 of the start.
"""
from importlib.metadata import version

import torch
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.standard import StandardTrainer
from dictionary_learning.trainers.top_k import TopKTrainer

from start_parameters import parameters, prefixes

VERSION = f'dictionary-learning {version("dictionary-learning")}'


def fractions(n):
    """-> what a Matryoshka SAE of n features adds at each level, as a share"""
    widths = prefixes(n)
    return [(wide - narrow) / n for narrow, wide in zip([0, *widths], widths)]


def trainer_of(architecture, d, n, k, penalty, **common):
    """A trainer as it initialises itself. common: steps, lr, warmup_steps and what else all of them take"""
    penalised = dict(sparsity_warmup_steps=None, **common)
    # `layer` and `lm_name` are mandatory labels
    common = dict(activation_dim=d, dict_size=n, layer=0, lm_name='none', device='cpu')
    return {
        'gated': lambda: GatedSAETrainer(l1_penalty=penalty, **common, **penalised),
        'standard': lambda: StandardTrainer(l1_penalty=penalty, **common, **penalised),
        'jumprelu': lambda: JumpReluTrainer(sparsity_penalty=penalty, target_l0=k, **common, **penalised),
        'topk': lambda: TopKTrainer(k=k, **common, **without_ramp(penalised)),
        'batchtopk': lambda: BatchTopKTrainer(k=k, **common, **without_ramp(penalised)),
        'matryoshka': lambda: MatryoshkaBatchTopKTrainer(
            k=k, group_fractions=fractions(n), **common, **without_ramp(penalised)),
    }[architecture]()


def without_ramp(settings):
    return {name: value for name, value in settings.items() if name != 'sparsity_warmup_steps'}


def tensors_of(architecture, ae):
    """-> views of a dictionary's parameters, by our names and in our shapes"""
    if architecture == 'gated':
        return dict(W_enc=ae.encoder.weight.T, W_dec=ae.decoder.weight.T, b_gate=ae.gate_bias, b_mag=ae.mag_bias,
                    r_mag=ae.r_mag, b_dec=ae.decoder_bias)
    if architecture in ('standard', 'topk', 'batchtopk'):
        b_dec = ae.bias if architecture == 'standard' else ae.b_dec
        return dict(W_enc=ae.encoder.weight.T, W_dec=ae.decoder.weight.T, b_enc=ae.encoder.bias, b_dec=b_dec)
    both = dict(W_enc=ae.W_enc, W_dec=ae.W_dec, b_enc=ae.b_enc, b_dec=ae.b_dec)
    return dict(both, threshold=ae.threshold) if architecture == 'jumprelu' else both


class Published:
    version = VERSION

    def __init__(self, start, lr, l1, n_steps, batch_size, architecture='gated', k=None):
        d, n = start['W_enc'].shape
        self.trainer = trainer_of(architecture, d, n, k, l1, steps=n_steps + 2, lr=lr, warmup_steps=0)
        # In their step 0 some replace b_dec by a median of the batch.
        self.steps_done = 0 if architecture in ('gated', 'standard', 'jumprelu') else 1
        # those that keep the largest of a batch encode by a running threshold unless told otherwise
        self.encoding = dict(use_threshold=False) if architecture in ('batchtopk', 'matryoshka') else {}
        # copied into the tensors that its own initialisation made, so that their memory order stays the published one
        with torch.no_grad():
            views, values = tensors_of(architecture, self.trainer.ae), parameters(start, architecture)
            assert views.keys() == values.keys(), (views.keys(), values.keys())
            for name, view in views.items():
                view.copy_(values[name])

    def step(self, x):
        self.trainer.update(self.steps_done, x)
        self.steps_done += 1

    @torch.no_grad()
    def loss(self, x):
        return self.trainer.loss(x, self.steps_done).item()

    @torch.no_grad()
    def l0(self, x):
        return (self.trainer.ae.encode(x, **self.encoding) > 0).sum(-1).float().mean().item()
