"""Make test/golden/metrics.safetensors: what an evaluation measures beyond eval.safetensors, all of it in float64.

    python scripts/golden.py --only metrics         # from the repo root; see golden.py for what to install

SAEs, contexts and positions that count are those of eval.safetensors (make_eval() in golden.py says which).

    x_mean                         float32 [192]   mean over the counted positions; replaces x in mean ablation
    ce_mean                        float64 [1]     cross entropy in nats, mean-ablated
    edges                          int32 [17]      positions of a context in 16 bins, edges[i] <= t < edges[i + 1]
    by_position/{clean, zero, gated, standard}     float64 [16]   mean loss in each bin
    {gated,standard}/{delta_ce, loss_recovered_mean, fvu, explained_variance_tokens, norm_ratio, dense_fraction,
        decoder_max_cosine/mean, decoder_max_cosine/largest}      float64 [1]
    {gated,standard}/l0_counts     int32 [49]      counted positions with 0, 1, ... 48 active features
    {gated,standard}/{nll, kl, l0, error, variation, product, reconstruction}   float64 [contexts]
                                                   sums over the counted positions of each context; variation is
                                                   that of |x - x_mean|^2
    {gated,standard}/explained_variance_dimensions   float64 [2]   median over dimensions, share below 0
    held                           float64 [3]     shares of the variance: of the largest 0.1 % of the positions, of
                                                   the largest dimension, of the largest 1 % of them (2)
    nll/{clean, zero, mean}, tokens                float64 [contexts]   likewise
    boundary/...                   the same over one context that has a BOS inside
    long/...                       the same over the first contexts, where positions with |x| > long/longest keep their
                                   activation and do not count: those of the largest tenth of the norms
"""
import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity
from transformers import AutoModelForCausalLM

from golden import BOS, LAYER, MODEL, OUT, T, decode, encode, save, scalar, token_nll

BINS, DENSE = 16, 0.1


def decoder_max_cosine(W_dec):
    """-> for each row the largest cosine to another one"""
    cosines = cosine_similarity(W_dec[:, None], W_dec[None], dim=-1)
    return cosines.fill_diagonal_(-2).amax(1)


def metrics(model, saes, contexts, longest=float("inf")):
    """The tensors of one prefix over contexts [C, T]; positions with a norm above `longest` keep their activation"""
    is_bos = contexts == BOS
    counted = ~(is_bos[:, :-1] | is_bos[:, 1:])

    def run(replacement=None):
        """-> activations at the hook, log-probabilities"""
        seen = []

        def splice(module, args, x):
            seen.append(x)
            return x if replacement is None else torch.where(kept[..., None], x, replacement)

        handle = model.model.layers[LAYER].register_forward_hook(splice)
        logits = model(input_ids=contexts.long(), use_cache=False).logits
        handle.remove()
        return seen[0], logits.log_softmax(-1)

    def by_context(values):
        return (values * counted).sum(1)

    kept = is_bos
    x, clean = run()
    kept = is_bos | (x.norm(dim=-1) > longest)
    counted = counted & ~kept[:, :-1]
    rows = x[:, :-1][counted]
    mean = rows.mean(0)
    nll = dict(clean=token_nll(clean, contexts), zero=token_nll(run(torch.zeros_like(x))[1], contexts),
               mean=token_nll(run(mean.expand_as(x))[1], contexts))
    ce = {name: v[counted].mean() for name, v in nll.items()}
    edges = torch.tensor([1 + i * (T - 2) // BINS for i in range(BINS + 1)], dtype=torch.int32)

    def by_position(v):
        bins = [(slice(None), slice(a, b)) for a, b in zip(edges[:-1], edges[1:])]
        return torch.stack([v[b][counted[b]].mean() for b in bins])

    variation = (x - mean).square().sum(-1)[:, :-1]
    spread = (x - mean).square()[:, :-1][counted].sum(0)
    most = max(1, round(0.001 * int(counted.sum())))
    held = torch.stack([variation[counted].topk(most).values.sum(), spread.max(), spread.topk(2).values.sum()])
    out = dict(x_mean=mean.float(), ce_mean=ce['mean'], edges=edges, tokens=counted.sum(1).double(),
               held=held / spread.sum())
    out |= {f'nll/{name}': by_context(v) for name, v in nll.items()}
    out |= {f'by_position/{name}': by_position(nll[name]) for name in ('clean', 'zero')}
    for arch, P in saes.items():
        f, _ = encode(arch, P, x)
        x_hat = decode(P, f)
        spliced = run(x_hat)[1]
        loss = token_nll(spliced, contexts)
        error = (x - x_hat).square().sum(-1)[:, :-1]
        l0 = (f > 0).sum(-1)[:, :-1]
        explained = 1 - (x - x_hat).square()[:, :-1][counted].sum(0) / spread
        cosines = decoder_max_cosine(P['W_dec'])
        delta = loss[counted].mean() - ce['clean']
        measured = {
            'delta_ce': delta,
            'loss_recovered_mean': 1 - delta / (ce['mean'] - ce['clean']),
            'fvu': error[counted].sum() / variation[counted].sum(),
            'explained_variance_tokens': (1 - error / variation)[counted].mean(),
            'explained_variance_dimensions': torch.stack([explained.quantile(0.5), (explained < 0).double().mean()]),
            'norm_ratio': (x_hat.norm(dim=-1) / x.norm(dim=-1))[:, :-1][counted].mean(),
            'dense_fraction': ((f > 0)[:, :-1][counted].double().mean(0) > DENSE).double().mean(),
            'decoder_max_cosine/mean': cosines.mean(),
            'decoder_max_cosine/largest': cosines.max(),
            'l0_counts': l0[counted].bincount(minlength=f.shape[-1] + 1).int(),
            'nll': by_context(loss),
            'kl': by_context((clean.exp() * (clean - spliced)).sum(-1)[:, :-1]),
            'l0': by_context(l0.double()),
            'error': by_context(error),
            'variation': by_context(variation),
            'product': by_context((x * x_hat).sum(-1)[:, :-1]),
            'reconstruction': by_context(x_hat.square().sum(-1)[:, :-1])}
        out |= {f'{arch}/{name}': v for name, v in measured.items()}
        out[f'by_position/{arch}'] = by_position(loss)
    return {name: scalar(v) if v.ndim == 0 else v for name, v in out.items()}


@torch.no_grad()
def make_metrics():
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64).eval()
    tokens = load_file(f'{OUT}/tiny-gemma.safetensors')['tokens']
    made = load_file(f'{OUT}/eval.safetensors')
    saes = {arch: {name.split('/')[1]: v.double() for name, v in made.items()
                   if name.startswith(f'{arch}/') and name.split('/')[1].split('_')[0] in ('W', 'b', 'r')}
            for arch in ('gated', 'standard')}
    out = metrics(model, saes, tokens[made['contexts']])
    out |= {f'boundary/{name}': v for name, v in metrics(model, saes, tokens[made['boundary/contexts']]).items()}
    contexts = tokens[made['contexts']]
    norms = model.model(input_ids=contexts.long(), output_hidden_states=True).hidden_states[LAYER + 1].norm(dim=-1)
    longest = norms[contexts != BOS].quantile(0.9)
    out |= {'long/longest': scalar(longest)}
    out |= {f'long/{name}': v for name, v in metrics(model, saes, contexts, longest).items()}
    for name, v in out.items():
        if len(v) == 1:
            print(f'metrics {name} {v.item():.7g}')
    save('metrics', out)
