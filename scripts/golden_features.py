"""Make test/golden/features.safetensors: what `features` collects of three SAEs, in float64 over the whole text at once.

    python scripts/golden.py --only features        # from the repo root, once eval is made; see golden.py

The text is the 20 contexts of tiny-gemma.safetensors up to the 5000th token that is not BOS, the hook blocks.2.hook_resid_post,
n = 48. gated is that of eval.safetensors; jumprelu is its standard SAE with thresholds; topk is that SAE, too, k = 5.

    jumprelu/threshold      float32 [n]
    SAE/active, sum, max    int32, float64, float32 [n]: tokens with f > 0, sum and largest of f
    SAE/first, histogram    int32 [1], [n, bins]: bin b counts 2^((first + b) / 4) <= f < 2^((first + b + 1) / 4)
    SAE/near_bounds         int32 [n]: f > 0 that rounding might move to the next bin
    SAE/norm_share          float64 [n]
    SAE/{top,bands}_{value,context,position}   float32, int32, int32 [n, 6] and [n, 5, 5]; -1 where there are fewer
    SAE/top_window          float32 [n, 6, 21]: f from 12 tokens before the peak to 8 after it, 0 beyond the context
    SAE/decided             int32 [n]: 1 where none of these hangs on less than rounding
    SAE/correlation, together   float32, int32 [n, n]: Pearson's over all counted tokens, and tokens on which both fire
    SAE/decoder_cosine, encoder_cosine   float32 [n, n]; SAE/cosine, encoder_norm, decoder_norm float32 [n]
    SAE/{top,bottom}_logit_token, _logit   int32, float32 [n, 10]
"""
import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity, relu
from transformers import AutoModelForCausalLM

from golden import BOS, LAYER, MODEL, N_EVAL, OUT, encode, save
from hook_points import record_hooks

TOKENS, TOP, BANDS, EACH, BEFORE, AFTER, K = 5000, 6, 5, 5, 12, 8, 5
ROUNDING = 1e-4


def example_hash(context, feature):
    h = (context * 0x9E3779B1 + feature) & 0xFFFFFFFF
    h = ((h ^ h >> 16) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ h >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ h >> 16


def features_of(arch, P, x):
    """-> f [..., n]"""
    if arch == 'gated':
        return encode(arch, P, x)[0]
    pre = (x - P['b_dec']) @ P['W_enc'] + P['b_enc']
    if arch == 'jumprelu':
        return relu(pre) * (pre > P['threshold'])
    values, indices = relu(pre).topk(K, dim=-1)
    return torch.zeros_like(pre).scatter(-1, indices, values)


def thresholds(P, x):
    """-> [n], above which each feature fires on about two thirds of where pre > 0: the middle of the widest gap there"""
    pre = ((x - P['b_dec']) @ P['W_enc'] + P['b_enc']).T
    out = []
    for column in pre:
        v = column[column > 0].sort(descending=True).values
        k = max(8, 2 * len(v) // 3)
        window = v[k - 8:k + 9]
        gap = (window[:-1] - window[1:]).argmax()
        out.append((window[gap] + window[gap + 1]) / 2)
    return torch.stack(out).float()


def examples(f, counted):
    """f [C, T, n] -> top, bands and which features are decided; by contexts' peaks over the counted positions"""
    n = f.shape[-1]
    masked = torch.where(counted[..., None], f, 0)
    value, position = masked.max(1)
    out = {f'top_{what}': torch.full((n, TOP), -1, dtype=torch.int32) for what in ('context', 'position')}
    out |= {f'bands_{what}': torch.full((n, BANDS, EACH), -1, dtype=torch.int32) for what in ('context', 'position')}
    out |= dict(top_value=torch.zeros(n, TOP), bands_value=torch.zeros(n, BANDS, EACH),
                top_window=torch.zeros(n, TOP, BEFORE + 1 + AFTER), decided=torch.ones(n, dtype=torch.int32))

    def put(kind, at, c, j):
        out[f'{kind}_value'][at] = value[c, j].float()
        out[f'{kind}_context'][at] = c
        out[f'{kind}_position'][at] = int(position[c, j])

    for j in range(n):
        peaks = sorted((c for c in range(len(f)) if value[c, j] > 0), key=lambda c: (-value[c, j].item(), c))
        v = value[peaks, j]
        close = ((v[:-1] - v[1:]) < ROUNDING * v[:-1])[:TOP].any()
        octave = value[:, j].clamp(min=1e-30).log2()
        edge = ((octave - octave.round()).abs() < ROUNDING)[peaks].any()
        two = masked[:, :, j].topk(2, dim=1).values
        tie = ((two[:, 0] - two[:, 1]) < ROUNDING * two[:, 0])[peaks].any()
        out['decided'][j] = int(not (close or edge or tie))
        for rank, c in enumerate(peaks[:TOP]):
            put('top', (j, rank), c, j)
            for i in range(-BEFORE, AFTER + 1):
                t = int(position[c, j]) + i
                if 0 <= t < f.shape[1]:
                    out['top_window'][j, rank, i + BEFORE] = f[c, t, j]
        if not peaks:
            continue
        highest = int(octave[peaks[0]].floor())
        for band in range(BANDS):
            inside = [c for c in peaks if int(octave[c].floor()) == highest - band]
            kept = set(sorted(inside, key=lambda c: example_hash(c, j))[:EACH])
            for rank, c in enumerate(c for c in inside if c in kept):
                put('bands', (j, band, rank), c, j)
    return out


def histogram(f):
    """f > 0 of rows [m, n]"""
    quarters = (4 * f.clamp(min=1e-30).log2())
    bins = torch.where(f > 0, quarters.floor(), torch.nan)
    first, last = int(bins.nan_to_num(1e9).min()), int(bins.nan_to_num(-1e9).max())
    counts = torch.stack([(bins == b).sum(0) for b in range(first, last + 1)], dim=1)
    near = ((quarters - quarters.round()).abs() < ROUNDING) & (f > 0)
    return dict(first=torch.tensor([first], dtype=torch.int32), histogram=counts.int(), near_bounds=near.sum(0).int())


def directions(P, model):
    W_enc, W_dec = P['W_enc'].T, P['W_dec']
    effects = (W_dec * (1 + model.model.norm.weight)) @ model.lm_head.weight.T
    top, bottom = effects.topk(10), effects.topk(10, largest=False)
    return dict(decoder_cosine=cosine_similarity(W_dec[:, None], W_dec[None], dim=-1).float(),
                encoder_cosine=cosine_similarity(W_enc[:, None], W_enc[None], dim=-1).float(),
                cosine=cosine_similarity(W_enc, W_dec).float(),
                decoder_norm=W_dec.norm(dim=1).float(), encoder_norm=W_enc.norm(dim=1).float(),
                top_logit=top.values.float(), top_logit_token=top.indices.int(),
                bottom_logit=bottom.values.float(), bottom_logit_token=bottom.indices.int())


@torch.no_grad()
def make_features():
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64).eval()
    tokens = load_file(f'{OUT}/tiny-gemma.safetensors')['tokens']
    acts = record_hooks(model.model)
    model(input_ids=tokens.long(), use_cache=False)
    x = acts[f'blocks.{LAYER}.hook_resid_post']
    inside = tokens != BOS
    counted = inside & (inside.flatten().cumsum(0).reshape(inside.shape) <= TOKENS)
    assert counted.sum() == TOKENS and not counted[-1].all()
    # All that the text is read of: what comes after is in no window.
    used = int(counted.any(1).sum())
    tokens, x, counted, inside = tokens[:used], x[:used], counted[:used], inside[:used]
    made = load_file(f'{OUT}/eval.safetensors')
    saes = {arch: {name.split('/')[1]: v.double() for name, v in made.items()
                   if name.startswith(f'{arch}/') and name.split('/')[1].split('_')[0] in ('W', 'b', 'r')}
            for arch in ('gated', 'standard')}
    threshold = thresholds(saes['standard'], x[counted])
    saes = dict(gated=saes['gated'], jumprelu=saes['standard'] | dict(threshold=threshold.double()), topk=saes['standard'])
    out = {'jumprelu/threshold': threshold}
    for arch, P in saes.items():
        # At BOS nothing is computed.
        f = torch.where(inside[..., None], features_of(arch, P, x), 0)
        rows = f[counted]
        total = rows.sum(0) * P['W_dec'].norm(dim=1)
        found = dict(active=(rows > 0).sum(0).int(), sum=rows.sum(0), max=rows.amax(0).float(),
                     norm_share=total / total.sum(), correlation=torch.corrcoef(rows.T).float(),
                     together=((rows > 0).double().T @ (rows > 0).double()).int(),
                     **histogram(rows), **examples(f, counted), **directions(P, model))
        print(f'features {arch}: L0 {(rows > 0).sum(1).double().mean():.3g}, decided {found["decided"].sum()} of {N_EVAL}, '
              f'near bounds {found["near_bounds"].sum()} of {found["histogram"].sum()}')
        out |= {f'{arch}/{name}': v for name, v in found.items()}
    save('features', out)
