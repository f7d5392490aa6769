"""Compare `sae-pipe inspect STORE --json` with NumPy on the same store.

    sae-pipe inspect STORE --json > inspection.json
    python scripts/check-inspect.py STORE inspection.json

Needs numpy and pyarrow; reads the complete store into memory.
"""
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.ipc


def rows_of(store):
    """-> are there statistics, rows of the first shard, x float64 [rows, d]"""
    manifest = json.load(open(f'{store}/manifest.json'))
    tables = [pa.ipc.open_file(pa.memory_map(f"{store}/{shard['file']}")).read_all() for shard in manifest['shards']]
    x = pa.concat_tables(tables)['activation'].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if manifest['dtype'] == 'bfloat16':
        x = (x.astype(np.uint32) << 16).view(np.float32)
    first = manifest['shards'][0]['rows']
    return 'statistics' in manifest, first, x.astype(np.float64).reshape(-1, manifest['d_in'])


def gamma(x):
    return np.linalg.norm(x.mean(0)) / np.sqrt(x.var(0).sum())


def effective_rank(x):
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True)).clip(0)
    share = values[values > 0] / values.sum()
    return np.exp(-(share * np.log(share)).sum())


store, path = sys.argv[1:]
found = json.load(open(path))
kept, first, x = rows_of(store)
norms = np.linalg.norm(x, axis=1)
centred = x - x.mean(1, keepdims=True)
spread = np.square(x - x.mean(0)).sum(1)
variance = x.var(0)
large = norms > found['tokens']['large']['multiple'] * np.median(norms[:first])
most = max(1, round(0.001 * len(x)))
expected = {
    'gamma.raw': gamma(x),
    'gamma.layer_norm': gamma(centred / centred.std(1, keepdims=True)),
    'norms.median': np.median(norms),
    'norms.mean': norms.mean(),
    'dimensions.largest.0.share': variance.max() / variance.sum(),
    'dimensions.span.largest': np.sqrt(variance.max()) / np.median(np.sqrt(variance)),
    'tokens.largest.share_of_variance': np.sort(spread)[-most:].sum() / spread.sum(),
    'tokens.large.rows': large.sum(),
    'tokens.large.share_of_variance': spread[large].sum() / spread.sum(),
    'effective_rank.all': effective_rank(x),
    'effective_rank.without_large_tokens': effective_rank(x[~large]),
    'longest_tokens.0.norm': norms.max(),
}
expected |= {f"norms.quantiles.{i}.norm": np.quantile(norms, q['share']) for i, q in enumerate(found['norms']['quantiles'])}
failed = 0
for name, value in expected.items():
    there = found
    for key in name.split('.'):
        there = there[int(key) if isinstance(there, list) else key]
    off = abs(there - value) / max(abs(value), 1e-12)
    # The rest of large tokens comes from a float32 sum; of the few largest, the last share a bin.
    # Without statistics, shares are about the mean of the first shard.
    loose = 'rank' in name or ('share_of_variance' in name and not kept)
    bad = not off < (2e-3 if loose else 2e-4)
    failed += bad
    print(f"{'WRONG' if bad else 'ok':6} {name:40} {there:.8g} {value:.8g}")
sys.exit(failed > 0)
