"""Check that circuit-tracer loads a set of transcoders and computes what the SAE directories say.

    pip install torch==2.13.0 circuit-tracer==0.5.0      # on Python 3.11
    sae-pipe export --sae SAE_DIRS --as circuit-tracer --out SET_DIR
    python scripts/check-circuit-tracer.py SET_DIR SAE_DIRS

SAE_DIRS has one transcoder per layer below it. The set is loaded by circuit-tracer's load_transcoder_set with what
config.yaml says, and each layer's features and output are compared with numpy, in float64 from the SAE's own weights, on
random rows. Exit status 1 if they differ by more than 1e-5 of the largest entry.
"""
import glob
import json
import os
import sys

import numpy as np
import torch
import yaml
from circuit_tracer.transcoder import load_transcoder_set
from safetensors.numpy import load_file

TOLERANCE = 1e-5


def encode(architecture, P, x):
    """-> f in float64, and how near each feature is to its threshold"""
    p = x @ P['W_enc']
    if 'b_gate' in P:
        pi = p + P['b_gate']
        return (pi > 0) * np.maximum(np.exp(P['r_mag']) * p + P['b_mag'], 0), np.abs(pi)
    pre = p + P['b_enc']
    threshold = P.get('threshold', np.zeros_like(P['b_enc']))
    return (pre > threshold) * np.maximum(pre, 0), np.abs(pre - threshold)


def main():
    directory, saes = sys.argv[1:]
    with open(f'{directory}/config.yaml', encoding='utf8') as f:
        config = yaml.safe_load(f)
    assert config['model_kind'] == 'transcoder_set', config
    layers = {}
    for path in glob.glob(f'{saes}/*/cfg.json') or [f'{saes}/cfg.json']:
        with open(path, encoding='utf8') as f:
            cfg = json.load(f)
        _, layer, hook = cfg['metadata']['hook_name'].split('.', 2)
        assert hook == config['feature_input_hook'], (hook, config)
        layers[int(layer)] = os.path.dirname(path), cfg['architecture']
    paths = {i: f'{directory}/layer_{i}.safetensors' for i in range(len(layers))}
    ok = True
    for lazy in (False, True):
        loaded = load_transcoder_set(paths, scan='check', feature_input_hook=config['feature_input_hook'],
                                     feature_output_hook=config['feature_output_hook'], device=torch.device('cpu'),
                                     dtype=torch.float32, lazy_encoder=lazy, lazy_decoder=lazy)
        for layer, (path, architecture) in sorted(layers.items()):
            P = {k: v.astype(np.float64) for k, v in load_file(f'{path}/sae_weights.safetensors').items()}
            scale = 3 / np.linalg.norm(P['W_enc'], axis=0).mean()
            x = scale * np.random.default_rng(layer).normal(size=(512, len(P['W_enc'])))
            with torch.no_grad():
                rows = torch.from_numpy(x).float()
                theirs = loaded.encode_layer(rows, layer)
                output = loaded[layer].decode(theirs, rows).numpy()
                sparse, _ = loaded[layer].decode_sparse(theirs.to_sparse(), rows)
            f, margin = encode(architecture, P, x)
            f = np.where(margin < TOLERANCE * margin.max(), theirs.numpy(), f)
            wanted = f @ P['W_dec'] + P['b_dec'] + (x @ P['W_skip'].T if 'W_skip' in P else 0)
            for name, a, b in (('features', theirs.numpy(), f), ('output', output, wanted),
                               ('sparse output', sparse.numpy(), wanted)):
                difference = np.abs(a - b).max() / np.abs(b).max()
                ok &= bool(difference <= TOLERANCE) and bool((f > 0).any())
                print(f'layer {layer} ({architecture}{", lazy" if lazy else ""}), {name}: '
                      f'largest difference {difference:.1e} of the largest entry {np.abs(b).max():.4g}')
    print('ok' if ok else 'FAIL')
    sys.exit(0 if ok else 1)


if __name__ == '__main__':
    main()
