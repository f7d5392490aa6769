"""Check that SAELens loads an SAE directory and computes what the weights say.

    pip install torch==2.13.0 sae-lens==6.54.12 pyarrow      # on Python 3.11
    python scripts/check-saelens.py SAE_DIR [ACTIVATIONS_STORE]

Loads cfg.json and sae_weights.safetensors with sae_lens.SAE.load_from_disk: an SAE (gated, standard, topk or jumprelu,
which batchtopk and matryoshka are saved as) or a transcoder of ReLU or JumpReLU with or without a skip connection; and
compares its encode and decode, and what it makes of the rows as a whole, with numpy on rows of the store, or on random
rows about b_dec. Exit status 1 if they differ by more than 1e-5 of the largest entry.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
from sae_lens import SAE
from safetensors.numpy import load_file

TOLERANCE = 1e-5


def encode(arch, P, x, k=None):
    """float64, so that only SAELens rounds. -> f, and how near each feature is to its threshold"""
    transcoder = arch.endswith('transcoder')
    # The b_dec of a transcoder belongs to its target.
    p = (x if transcoder else x - P['b_dec']) @ P['W_enc']
    if transcoder:
        arch = 'jumprelu' if arch.startswith('jumprelu') else 'standard'
    if arch == 'standard':
        pre = p + P['b_enc']
        return np.maximum(pre, 0), np.abs(pre)
    if arch == 'topk':
        pre = p + P['b_enc']
        edge = np.sort(pre, axis=1)[:, -k - 1:-k + 1 or None].mean(axis=1, keepdims=True)
        return np.where(pre > edge, np.maximum(pre, 0), 0), np.minimum(np.abs(pre - edge), np.abs(pre))
    if arch == 'jumprelu':
        pre = p + P['b_enc']
        return (pre > P['threshold']) * np.maximum(pre, 0), np.abs(pre - P['threshold'])
    pi = p + P['b_gate']
    m = np.exp(P['r_mag']) * p + P['b_mag']
    return (pi > 0) * np.maximum(m, 0), np.abs(pi)


def rows_of_store(store, limit):
    import pyarrow as pa
    with open(os.path.join(store, 'manifest.json'), encoding='utf8') as f:
        manifest = json.load(f)
    rows = []
    for shard in manifest['shards']:
        with pa.memory_map(os.path.join(store, shard['file'])) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                x = reader.get_batch(i)['activation'].flatten().to_numpy(zero_copy_only=False)
                if manifest['dtype'] == 'bfloat16':  # kept as uint16, the upper half of a float32
                    x = (x.astype(np.uint32) << 16).view(np.float32)
                rows.append(x.astype(np.float32).reshape(-1, manifest['d_in']))
                if sum(map(len, rows)) >= limit:
                    return np.concatenate(rows)[:limit]
    return np.concatenate(rows)


def random_rows(P, limit):
    """Rows about b_dec, long enough that features fire: pre-activations spread some times wider than the biases."""
    bias = P['b_gate'] if 'b_gate' in P else P['b_enc'] - P.get('threshold', 0)
    scale = 3 * (np.abs(bias).mean() + 1e-3) / np.linalg.norm(P['W_enc'], axis=0).mean()
    rows = scale * np.random.default_rng(0).normal(size=(limit, len(P['W_enc'])))
    return (rows + P['b_dec'] if len(P['b_dec']) == len(P['W_enc']) else rows).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sae', metavar='SAE_DIR')
    parser.add_argument('store', metavar='ACTIVATIONS_STORE', nargs='?')
    parser.add_argument('--rows', type=int, default=4096)
    args = parser.parse_args()

    with open(os.path.join(args.sae, 'cfg.json'), encoding='utf8') as f:
        cfg = json.load(f)
    P = {k: v.astype(np.float64) for k, v in load_file(os.path.join(args.sae, 'sae_weights.safetensors')).items()}
    x = rows_of_store(args.store, args.rows) if args.store else random_rows(P, args.rows)

    sae = SAE.load_from_disk(args.sae, device='cpu', dtype='float32')
    assert sae.cfg.architecture() == cfg['architecture'] and sae.cfg.normalize_activations == 'none'
    sae.turn_off_forward_pass_hook_z_reshaping()  # rows are flat, also where SAELens wants [..., heads, d_head]
    with torch.no_grad():
        f_theirs = sae.encode(torch.from_numpy(x))
        x_hat_theirs = sae.decode(f_theirs).numpy()
        whole_theirs = sae(torch.from_numpy(x)).numpy()
        f_theirs = f_theirs.numpy()

    f, margin = encode(cfg['architecture'], P, x.astype(np.float64), cfg.get('k'))
    # on a threshold float32 may fall on either side, and a gated feature then jumps: take theirs there
    tie = margin < TOLERANCE * margin.max()
    f = np.where(tie, f_theirs, f)
    x_hat = f @ P['W_dec'] + P['b_dec']
    whole = x_hat + x @ P['W_skip'].T if 'W_skip' in P else x_hat

    ok = bool((f > 0).any())
    for name, ours, theirs in (('encode', f, f_theirs), ('decode', x_hat, x_hat_theirs), ('whole', whole, whole_theirs)):
        difference = np.abs(ours - theirs).max() / np.abs(ours).max()
        ok &= bool(difference <= TOLERANCE)
        print(f'{name}: largest difference {difference:.1e} of the largest entry {np.abs(ours).max():.4g}')
    explained = ''
    if not cfg['architecture'].endswith('transcoder'):
        error = np.square(x - x_hat).sum() / np.square(x - x.mean(0, dtype=np.float64)).sum()
        explained = f'explained variance {1 - error:.4f}, '
    print(f'{cfg["architecture"]}, {x.shape[1]} x {f.shape[1]}, {len(x)} {"store" if args.store else "random"} rows: '
          f'L0 {(f > 0).sum(1).mean():.4g}, {explained}{tie.sum()} ties; {"ok" if ok else "FAIL"}')
    sys.exit(0 if ok else 1)


if __name__ == '__main__':
    main()
