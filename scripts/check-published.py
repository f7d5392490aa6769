"""Check what `sae-pipe convert` writes with the libraries whose layouts they are.

    python scripts/check-published.py       # from the repo root, after a build; environment: see golden_published.py

Golden SAEs of dictionary_learning are converted to its own layout, to sparsify's and to Gemma Scope's, and loaded with
`from_pretrained`, `load_from_disk` and numpy; features must be those that the library computed of the original.
"""
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
from dictionary_learning import dictionary
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from safetensors.torch import load_file
from sparsify import SparseCoder

GOLDEN = 'test/golden/published/dictionary_learning'


def convert(name, layout, out):
    command = ['node', 'bin/sae-pipe.js', 'convert', f'{GOLDEN}/{name}', '--as', layout, '--out', out]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | dict(SAE_PIPE_CACHE=f'{out}-cache'))
    return load_file(f'{GOLDEN}/{name}.expected.safetensors')


def compare(what, f, expected):
    off = (f - expected['f']).abs().max().item()
    assert off < 1e-5, (what, off)
    print(f'{what}: off by {off:.1e} at most')


@torch.no_grad()
def main():
    with tempfile.TemporaryDirectory() as root:
        for name in ['AutoEncoder', 'AutoEncoderNew', 'GatedAutoEncoder', 'AutoEncoderTopK', 'JumpReluAutoEncoder',
                     'MatryoshkaBatchTopKSAE']:
            out = f'{root}/{name}'
            expected = convert(name, 'dictionary-learning', out)
            written = json.load(open(f'{out}/config.json'))['trainer']['dict_class']
            kind = AutoEncoderTopK if written == 'AutoEncoderTopK' else getattr(dictionary, written)
            plain = dict(normalize_decoder=False) if written == 'AutoEncoder' else {}
            compare(f'{name} as {written}', kind.from_pretrained(f'{out}/ae.pt', **plain).encode(expected['x']), expected)
        expected = convert('AutoEncoderTopK', 'sparsify', f'{root}/layers.4')
        top = SparseCoder.load_from_disk(f'{root}/layers.4').encode(expected['x'])
        compare('sparsify', torch.zeros_like(expected['f']).scatter_(-1, top.top_indices, top.top_acts), expected)
        expected = convert('JumpReluAutoEncoder', 'gemma-scope', f'{root}/scope')
        w = {key: torch.tensor(value) for key, value in np.load(f'{root}/scope/params.npz').items()}
        h = expected['x'] @ w['W_enc'] + w['b_enc']
        compare('gemma-scope', torch.where(h > w['threshold'], h, 0).relu(), expected)


if __name__ == '__main__':
    main()
