"""Write a start file for train_step.py by hand: unit random decoder rows, their transpose as the encoder, x ~ N(0, 1).

    python bench/peers/make_start.py --d 512 --n 8192 --batch 1024 --l0 64 --out start.safetensors

b_gate is one number, the quantile of the encoder's product that lets --l0 features a token through; other biases and
r_mag are 0.
"""
import argparse

import numpy as np
from safetensors.numpy import save_file


def make_start(d, n, batch, l0, batches=4, seed=0):
    """-> float32 arrays by name, as train_step.py reads them"""
    rng = np.random.default_rng(seed)
    W_dec = rng.standard_normal((n, d), dtype=np.float32)
    W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
    x = rng.standard_normal((batches, batch, d), dtype=np.float32)
    W_enc = np.ascontiguousarray(W_dec.T)
    b_gate = np.full(n, -np.quantile(x[0] @ W_enc, 1 - l0 / n), dtype=np.float32)
    zeros = np.zeros(n, dtype=np.float32)
    return dict(W_enc=W_enc, W_dec=W_dec, b_gate=b_gate, b_mag=zeros, r_mag=zeros,
                b_dec=np.zeros(d, dtype=np.float32), batches=x)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('--d', '--n', '--batch', '--l0'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--batches', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    save_file(make_start(args.d, args.n, args.batch, args.l0, args.batches, args.seed), args.out)


if __name__ == '__main__':
    main()
