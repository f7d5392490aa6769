"""Make test/golden/inspect.safetensors: the numbers of `inspect`, by NumPy in float64 from all of them at once.

    python scripts/golden.py --only inspect         # from the repo root; see golden.py for what to install

    x                              float32 [96, 8]   a mean, a dimension that dominates, and one row 40 times as long
    gamma, gamma_layer_norm        float64 [1]       |mean| / |deviation|, of x and of rows normalised one by one
    mean, variance                 float64 [8]
    norm_mean                      float64 [1]
    shares, norm_quantiles         float64 [11]
    norm_edges, norm_counts        float64 [bins + 1], int64 [bins]   64 bins an octave
    largest_token, large_tokens    float64 [1]       shares of the variance: of the row farthest from the mean, and of
                                                     rows longer than 10 times the median
    rank, rank_without             float64 [1]       exp of the entropy of the covariance's eigenvalues, and without
                                                     those rows
"""
import numpy as np
import torch

from golden import save

ROWS, D, LONG = 96, 8, 61
SHARES = np.array([0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1])


def gamma(x):
    return np.linalg.norm(x.mean(0)) / np.sqrt(x.var(0).sum())


def effective_rank(x):
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))
    share = values / values.sum()
    return np.exp(-(share * np.log(share)).sum())


def make_inspect():
    random = np.random.default_rng(11)
    x = random.normal(size=(ROWS, D)) @ random.normal(size=(D, D)) + 4 * random.normal(size=D)
    x[:, 5] *= 8
    x[LONG] *= 40
    kept = x.astype(np.float32)
    x = kept.astype(np.float64)
    norms = np.linalg.norm(x, axis=1)
    centred = x - x.mean(1, keepdims=True)
    spread = np.square(x - x.mean(0)).sum(1)
    large = norms > 10 * np.median(norms)
    bins = np.floor(64 * np.log2(norms))
    edges = 2 ** (np.arange(bins.min(), bins.max() + 2) / 64)
    out = dict(gamma=gamma(x), gamma_layer_norm=gamma(centred / centred.std(1, keepdims=True)),
               mean=x.mean(0), variance=x.var(0), norm_mean=norms.mean(),
               shares=SHARES, norm_quantiles=np.quantile(norms, SHARES), norm_edges=edges,
               norm_counts=np.histogram(norms, edges)[0].astype(np.int64),
               largest_token=spread.max() / spread.sum(), large_tokens=spread[large].sum() / spread.sum(),
               rank=effective_rank(x), rank_without=effective_rank(x[~large]))
    save('inspect', {'x': torch.from_numpy(kept)} | {name: torch.from_numpy(np.atleast_1d(v)) for name, v in out.items()})
