"""SAELens 6: its gated training SAE, stepped by its own `SAETrainer.step(batch)`, which is what `fit` calls for each
batch. Of `fit`, the progress bar and the checks for logs, sparsity windows and checkpoints not yet due are left out.

Its parametrisation takes all six tensors of a start file and its loss has the same value there, but it trains
otherwise:
  - the auxiliary term trains W_dec and b_dec too: nothing is frozen;
  - the penalty weighs relu(pi_gate) by the norms of W_dec's rows, which are free: no projection, no normalisation;
  - gradients are clipped to a total norm of 1;
  - the magnitude path multiplies by a scaled copy of W_enc, and the auxiliary term computes the gate anew, so that
    the encoder's product is done three times, each with a backward;
  - the trainer counts for every feature how often, and how long ago, it fired.
Adam's beta1 is a setting, here 0 like the others'. Weights and biases logging is off; clipping is by PyTorch and reads
no value back.
"""
from importlib.metadata import version

import torch
from sae_lens import GatedTrainingSAE, GatedTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.sae import TrainStepInput
from sae_lens.training.sae_trainer import SAETrainer


class Published:
    version = f'sae-lens {version("sae-lens")}'

    def __init__(self, start, lr, l1, n_steps, batch_size):
        d, n = start['W_enc'].shape
        device = str(start['W_enc'].device)
        self.sae = GatedTrainingSAE(GatedTrainingSAEConfig(
            d_in=d, d_sae=n, dtype='float32', device=device, apply_b_dec_to_input=True, normalize_activations='none',
            l1_coefficient=l1, l1_warm_up_steps=0))
        self.sae.load_state_dict(start)
        cfg = SAETrainerConfig(
            total_training_samples=n_steps * batch_size, train_batch_size_samples=batch_size, lr=lr, lr_end=lr,
            lr_scheduler_name='constant', adam_beta1=0.0, adam_beta2=0.999, device=device, autocast=False,
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
