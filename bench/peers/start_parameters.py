"""A start file's parameters as those of each architecture, so that all of them begin with about the L0 of the file.

The file's gate lets L0 features per token through by one negative bias. ReLU has the same bias, JumpReLU the threshold
of that size, and those that keep the k largest need neither.
"""
import torch


def parameters(start, architecture):
    """start: tensors by name, see train_step.py. -> those of the architecture by SAELens's names"""
    if architecture == 'gated':
        return dict(start)
    both = {name: start[name] for name in ('W_enc', 'W_dec', 'b_dec')}
    zeros = torch.zeros_like(start['b_gate'])
    if architecture == 'standard':
        return dict(both, b_enc=start['b_gate'])
    if architecture == 'jumprelu':
        return dict(both, b_enc=zeros, threshold=-start['b_gate'])
    return dict(both, b_enc=zeros)


def prefixes(n):
    """-> widths of the levels of a Matryoshka SAE of n features"""
    return [n // 8, n // 4, n // 2, n]
