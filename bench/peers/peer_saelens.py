"""SAELens 6: its training SAEs, stepped by its own `SAETrainer.step(batch)`, which is what `fit` calls for each batch.
Of `fit`, the progress bar and the checks for logs, sparsity windows and checkpoints not yet due are left out.

Settings are its defaults but for these: no normalisation of inputs, b_dec subtracted from them, Adam's beta1 0 like the
others', no warm-up of the penalty. Rows of W_dec are free, gradients are clipped to a total norm of 1 (by PyTorch, which
reads no value back), and the trainer counts for every feature how often, and how long ago, it fired. Weights and biases
logging is off. Losses:
  gated       the same value as ours at a start file, but the auxiliary term trains W_dec and b_dec too, the penalty
              weighs relu(pi_gate) by the norms of W_dec's rows, the magnitude path multiplies by a scaled copy of W_enc,
              and the auxiliary term computes the gate again: the encoder's product is done three times
  standard    the penalty weighs f by the norms of W_dec's rows
  topk        k largest, then ReLU, of activations times the norms of W_dec's rows; AuxK
  batchtopk   the same over the batch, and an average of the smallest activation kept
  matryoshka  batchtopk with a reconstruction per prefix, losses summed
  jumprelu    the step penalty
"""
from importlib.metadata import version

import torch
from sae_lens import (
    BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, GatedTrainingSAE, GatedTrainingSAEConfig, JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig, MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE, StandardTrainingSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig)
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.sae import TrainStepInput
from sae_lens.training.sae_trainer import SAETrainer

from start_parameters import parameters, prefixes

VERSION = f'sae-lens {version("sae-lens")}'
CLASSES = {
    'gated': (GatedTrainingSAE, GatedTrainingSAEConfig),
    'standard': (StandardTrainingSAE, StandardTrainingSAEConfig),
    'topk': (TopKTrainingSAE, TopKTrainingSAEConfig),
    'batchtopk': (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
    'matryoshka': (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig),
    'jumprelu': (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig),
}


def training_sae(architecture, d, n, own, **common):
    """An SAE as SAELens initialises it. own: settings of the architecture, common: of all"""
    sae, config = CLASSES[architecture]
    return sae(config(d_in=d, d_sae=n, dtype='float32', device='cpu', **own, **common))


def own_settings(architecture, n, penalty, k):
    """-> what the architecture's config is given beyond sizes; the rest is SAELens's defaults"""
    if architecture in ('gated', 'standard'):
        return dict(l1_coefficient=penalty, l1_warm_up_steps=0)
    if architecture == 'jumprelu':
        return dict(l0_coefficient=penalty)
    return dict(k=k, **(dict(matryoshka_widths=prefixes(n)) if architecture == 'matryoshka' else {}))


class Published:
    version = VERSION

    def __init__(self, start, lr, l1, n_steps, batch_size, architecture='gated', k=None):
        d, n = start['W_enc'].shape
        self.sae = training_sae(architecture, d, n, own_settings(architecture, n, l1, k), apply_b_dec_to_input=True,
                                normalize_activations='none')
        # not strict: batchtopk's running threshold begins where SAELens begins it
        missing = self.sae.load_state_dict(parameters(start, architecture), strict=False)
        assert not missing.unexpected_keys and set(missing.missing_keys) <= {'topk_threshold'}, missing
        cfg = SAETrainerConfig(
            total_training_samples=n_steps * batch_size, train_batch_size_samples=batch_size, lr=lr, lr_end=lr,
            lr_scheduler_name='constant', adam_beta1=0.0, adam_beta2=0.999, device='cpu', autocast=False,
            logger=LoggingConfig(log_to_wandb=False))
        self.trainer = SAETrainer(cfg, self.sae, data_provider=iter(()))

    def step(self, x):
        self.trainer.step(x)
        self.trainer.n_training_steps += 1  # step() leaves this to its caller

    @torch.no_grad()
    def loss(self, x):
        return self.sae.training_forward_pass(TrainStepInput(
            sae_in=x, coefficients=self.trainer.get_coefficients(), dead_neuron_mask=None, n_training_steps=0,
            is_logging_step=False)).loss.item()

    @torch.no_grad()
    def l0(self, x):
        return (self.sae.encode(x) > 0).sum(-1).float().mean().item()
