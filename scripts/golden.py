"""Make the PyTorch reference ("golden") data in test/golden from the bundled tiny Gemma and its text.

    pip install torch==2.13.0 transformers==5.18.0 safetensors      # on Python 3.11, CPU
    python scripts/golden.py                # from the repo root; --only PART makes one part alone

[20, 256] means 20 contexts of 256 tokens. B rows a batch, d = d_in, n = d_sae; SAE tensors have
SAELens's names and shapes: W_enc [d, n], W_dec [n, d], b_dec [d], all others [n].

tiny-gemma.safetensors: packing, and the model in float32
    tokens, document       int32 [20, 256]      validation text under the packing of pack()
    nll, mean_nll          float32 [20, 255], float64 [1]   nll[c, t] is that of token t + 1, in nats
    positions              int32 [8]            where the hooks of context 0 are sampled
    <hook>                 float32 [8, width]   TransformerLens names, raw Hugging Face values
    norm/<hook>, absmax/<hook>   float64 [1]    Frobenius norm, largest |entry| over all of context 0

two models of each family, {gemma,gemma2,gemma3,llama,…}-*.safetensors: see golden_families.py; ablations.safetensors: see golden_ablations.py
topk.safetensors: see golden_topk.py; batchtopk.safetensors: see golden_batchtopk.py
matryoshka.safetensors: see golden_matryoshka.py
jumprelu.safetensors: see golden_jumprelu.py
transcoder.safetensors: see golden_transcoder.py
inspect.safetensors: see golden_inspect.py

train-{gated,standard}-{0,0.9}.safetensors: ten training steps in float64 with Adam beta1 0 or 0.9,
beta2 0.999, eps 1e-8; d=12, n=40, B=32
    init/P, first/P, final/P    each parameter P before, after one and after ten steps
    batches [10, B, d], lr [10], l1 [10]        l1 is lambda, over sums of squares
    loss, mse, l1_term, aux, l0 [10]            before each update; aux is 0 for standard;
                                                l0 counts features with f > 0

resampling-{gated,standard}.safetensors: see golden_resampling.py
clip.safetensors: see golden_clip.py

eval.safetensors: splice-in metrics at blocks.2.hook_resid_post, n=48; see make_eval()
    gated/P, standard/P    float32, the two SAEs
    contexts, counted      int32 [4], [1]: rows of `tokens` above, number of counted positions
    ce_clean, ce_zero      float64 [1], cross entropy in nats, of the model as it is and zero-ablated
    {gated,standard}/{ce_spliced, kl, l0, mse, explained_variance, cosine,
        relative_reconstruction_bias, loss_recovered}   float64 [1]
    {gated,standard}/density    float32 [48]
    boundary/...           the same over one context that has a BOS inside

metrics.safetensors: see golden_metrics.py
features.safetensors: see golden_features.py
steering.safetensors: see golden_steering.py; generation.json: see golden_generation.py
"""
import argparse
import gzip
import json
import os
from functools import partial
from importlib import import_module

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize, relu
from transformers import AutoModelForCausalLM, AutoTokenizer

from hook_points import record_hooks

MODEL = 'assets/tiny-gemma'
CORPUS = 'assets/corpus/validation.jsonl.gz'
OUT = 'test/golden'
BOS, T = 2, 256


def scalar(x):
    return torch.tensor([float(x)], dtype=torch.float64)


def load_model():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


# ---- tiny-gemma.safetensors ----

def pack(documents, n_contexts):
    """Lay the tokenised documents end to end, each begun by BOS, and cut this stream into contexts
    of T tokens that all begin with BOS: the stream's own where one comes next, else one put in
    front of T - 1 stream tokens, which counts to the document of the token that follows it."""
    stream = [(t, i) for i, doc in enumerate(documents) for t in [BOS, *doc]]
    contexts, at = [], 0
    while len(contexts) < n_contexts:
        front = [] if stream[at][0] == BOS else [(BOS, stream[at][1])]
        end = at + T - len(front)
        assert end <= len(stream), 'the corpus is too short; a partial last context would be dropped'
        contexts.append(front + stream[at:end])
        at = end
    return torch.tensor(contexts, dtype=torch.int32).unbind(-1)


@torch.no_grad()
def make_model():
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    with gzip.open(CORPUS, 'rt', encoding='utf8') as f:
        documents = [tokenizer(json.loads(line)['text'], add_special_tokens=False)['input_ids'] for line in f]
    tokens, document = pack(documents, 20)

    model = load_model()
    nll = torch.cat([token_nll(model(input_ids=c[None].long(), use_cache=False).logits, c[None]) for c in tokens])
    acts = record_hooks(model.model)
    model(input_ids=tokens[:1].long(), use_cache=False)

    positions = torch.tensor([0, 1, 2, 7, 63, 128, 200, 255], dtype=torch.int32)
    out = dict(tokens=tokens, document=document, positions=positions, nll=nll, mean_nll=scalar(nll.double().mean()))
    for name, x in acts.items():
        out[name] = x[0, positions]
        out['norm/' + name] = scalar(x.double().norm())
        out['absmax/' + name] = scalar(x.abs().max())
    print(f'mean NLL {out["mean_nll"].item():.7f} over {nll.numel()} tokens')
    save('tiny-gemma', out)


def token_nll(logits, tokens):
    """logits [C, T, V], tokens [C, T] -> [C, T - 1], in the dtype of the logits"""
    return -logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None].long())[..., 0]


# ---- SAEs ----

def encode(arch, P, x):
    """-> features f and (gated only) the gate's relu(pi), both [..., n]. The comments' equation
    numbers are those of arXiv 2404.16014."""
    p = (x - P['b_dec']) @ P['W_enc']
    if arch == 'standard':
        return relu(p + P['b_enc']), None
    pi = p + P['b_gate']
    m = P['r_mag'].exp() * p + P['b_mag']  # tied weights, eq. 6 and 7
    return (pi > 0) * relu(m), relu(pi)


def decode(P, f):
    return f @ P['W_dec'] + P['b_dec']


def losses(arch, P, x, l1):
    """Every term is a mean over the batch of sums over d or n. Gated: eq. 8."""
    f, g = encode(arch, P, x)
    terms = dict(mse=(x - decode(P, f)).square().sum(-1).mean(), l0=(f > 0).sum(-1).to(x.dtype).mean())
    if arch == 'gated':
        frozen = {name: p.detach() for name, p in P.items()}  # the auxiliary loss must not train the decoder
        terms['l1_term'] = l1 * g.sum(-1).mean()
        terms['aux'] = (x - decode(frozen, g)).square().sum(-1).mean()
    else:
        terms['l1_term'] = l1 * f.sum(-1).mean()
        terms['aux'] = torch.zeros_like(terms['mse'])
    terms['loss'] = terms['mse'] + terms['l1_term'] + terms['aux']
    return terms


# ---- train-*.safetensors ----

STEPS, B, D, N = 10, 32, 12, 40


def adam_step(adam, W, loss, lr, clip=None):
    """One step down the loss. Rows of the decoder W, if it is trained, stay on the unit sphere: tangent gradient,
    then renormalise. The norm of all gradients is cut to clip, if there is one. -> that norm, before"""
    adam.zero_grad()
    loss.backward()
    with torch.no_grad():
        if W.requires_grad:
            W.grad -= (W.grad * W).sum(-1, keepdim=True) * W
        adam.param_groups[0]['lr'] = lr.item()
        norm = torch.nn.utils.clip_grad_norm_(adam.param_groups[0]['params'], torch.inf if clip is None else clip)
        adam.step()
        if W.requires_grad:
            W /= W.norm(dim=-1, keepdim=True)
    return norm


def train(arch, beta1, init, batches, lr, l1):
    """-> parameters after the first and after the last step, and the terms of losses() at every step"""
    P = {name: p.clone().requires_grad_() for name, p in init.items()}
    adam = torch.optim.Adam(P.values(), betas=(beta1, 0.999), eps=1e-8)
    history, first = [], None
    for x, lr_t, l1_t in zip(batches, lr, l1):
        terms = losses(arch, P, x, l1_t)
        history.append({name: v.detach() for name, v in terms.items()})
        adam_step(adam, P['W_dec'], terms['loss'], lr_t)
        first = first or {name: p.detach().clone() for name, p in P.items()}
    final = {name: p.detach() for name, p in P.items()}
    return first, final, {name: torch.stack([h[name] for h in history]) for name in history[0]}


def random_problem(arch, seed):
    rng = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=rng, dtype=torch.float64)
    W_dec = normalize(randn(N, D), dim=-1)
    init = dict(W_enc=0.6 * (W_dec + 0.2 * randn(N, D)).T, W_dec=W_dec, b_dec=0.3 * randn(D))
    bias = 'b_gate' if arch == 'gated' else 'b_enc'
    init[bias] = -0.8 + 0.3 * randn(N)
    if arch == 'gated':
        # b_mag lies on both sides of exp(r_mag) * b_gate, so the JumpReLU's gap has either sign
        init |= dict(b_mag=-0.6 + 0.3 * randn(N), r_mag=0.3 * randn(N))
    # features 0, 1, 2 never fire; 3, 4, 5 nearly always. By a small W_enc, not a large bias, next to
    # which errors in the other biases would look small
    init['W_enc'][:, :6] *= 0.3
    init[bias][:3] = -1.5 + 0.2 * randn(3)
    init[bias][3:6] = 1 + 0.1 * randn(3)
    if arch == 'gated':
        init['b_mag'][3:6] = 1 + 0.1 * randn(3)
    batches = randn(STEPS, B, D) + 0.5 * randn(D)
    lr = 1e-2 * torch.linspace(0.1, 1, STEPS, dtype=torch.float64)
    l1 = 0.3 * torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)[1:]
    return init, batches, lr, l1


def float32_disagreement(arch, beta1, problem, final):
    """-> for each parameter the largest relative difference from float64 after ten steps, over some
    float32 runs that differ in the order of the batch's rows, and so in how the sums are rounded"""
    init, batches, lr, l1 = problem
    worst = dict.fromkeys(init, 0.)
    for order in range(5):
        rows = torch.randperm(B, generator=torch.Generator().manual_seed(order)) if order else torch.arange(B)
        init32 = {name: p.float() for name, p in init.items()}
        _, final32, _ = train(arch, beta1, init32, batches[:, rows].float(), lr, l1)
        for name, p in final.items():
            worst[name] = max(worst[name], ((final32[name] - p).abs().max() / p.abs().max()).item())
    return worst


def make_train(arch, beta1):
    # An engine that reads this file works in float32, where two things can go apart by more than
    # rounding: Adam's first steps are about lr * sign(gradient), so an entry whose gradient nearly
    # cancels moves either way, and a pre-activation near 0 can fall on either side. So take the first
    # seed with neither, so that a failing test means wrong maths. 5e-6 leaves a test at 2e-5 room.
    for seed in range(1000):
        problem = init, batches, lr, l1 = random_problem(arch, seed)
        first, final, history = train(arch, beta1, *problem)
        worst = float32_disagreement(arch, beta1, problem, final)
        if max(worst.values()) < 5e-6:
            break
    else:
        raise SystemExit('no seed has float32 agree with float64')

    for P in (init, final):  # random_problem() promised this
        fires = (encode(arch, P, batches)[0] > 0).double().mean((0, 1))
        assert (fires[:3] == 0).all() and (fires[3:6] > 0.9).all(), fires
    print(f'{arch} beta1={beta1:g}: seed {seed}, L0 {history["l0"][0]:.2f}, loss {history["loss"][0]:.3f} -> '
          f'{history["loss"][-1]:.3f}; float32 differs by ' + ', '.join(f'{k} {v:.1e}' for k, v in worst.items()))
    out = dict(batches=batches, lr=lr, l1=l1, **history)
    for prefix, P in dict(init=init, first=first, final=final).items():
        out |= {f'{prefix}/{name}': p for name, p in P.items()}
    save(f'train-{arch}-{beta1:g}', out)


# ---- eval.safetensors ----

LAYER, N_EVAL = 2, 48


def random_saes(x):
    """A gated and a standard SAE that reconstruct activations x [rows, d] to some degree, untrained:
    decoder rows are random mixtures of centred activations, the encoder is their transpose."""
    rng = torch.Generator().manual_seed(0)
    rand, randn = partial(torch.rand, generator=rng), partial(torch.randn, generator=rng)
    b_dec = x.mean(0)
    chosen = torch.randint(len(x), (N_EVAL, 3), generator=rng)
    W_dec = normalize(((x[chosen] - b_dec) * rand(N_EVAL, 3, 1)).sum(1), dim=-1)
    W_enc = W_dec.T.contiguous()
    p = (x - b_dec) @ W_enc

    def between_values(v, fraction):
        """-> [n], for each column of v a number that about `fraction` of it exceeds: the middle of the
        widest gap around there, so that rounding in another implementation flips no feature"""
        v = v.sort(0, descending=True).values
        k = (fraction * len(v)).round().long()
        window = torch.stack([v[k + i].diagonal() for i in range(-8, 9)])
        gap = (window[:-1] - window[1:]).argmax(0, keepdim=True)
        return ((window.gather(0, gap) + window.gather(0, gap + 1)) / 2)[0]

    # features fire on 5 % to 40 % of positions: L0 about 10 of 48
    threshold = between_values(p, 0.05 + 0.35 * rand(N_EVAL))
    # decoder rows overlap, so what all of them add up to needs shrinking
    r_mag = -0.8 + 0.3 * randn(N_EVAL)
    # m > 0 above a second threshold. In places it is the higher one, so that the gate lets through
    # what relu(m) then cuts; else active features begin with a jump
    second = between_values(p, 0.05 + 0.6 * rand(N_EVAL))
    b_mag = -r_mag.exp() * second
    gated = dict(W_enc=W_enc, W_dec=W_dec, b_dec=b_dec, b_gate=-threshold, b_mag=b_mag, r_mag=r_mag)
    standard = dict(W_enc=W_enc * 0.6, W_dec=W_dec, b_dec=b_dec, b_enc=-0.6 * threshold)
    return dict(gated=gated, standard=standard)


def evaluate(model, saes, contexts):
    """Splice-in metrics over contexts [C, T]; see make_eval()"""
    hook = model.model.layers[LAYER]
    is_bos = contexts == BOS
    counted = ~(is_bos[:, :-1] | is_bos[:, 1:])

    def run(replacement=None):
        """-> activations at the hook, log-probabilities in float64"""
        seen = []

        def splice(module, args, x):
            seen.append(x)
            return x if replacement is None else torch.where(is_bos[..., None], x, replacement)

        handle = hook.register_forward_hook(splice)
        logits = model(input_ids=contexts.long(), use_cache=False).logits
        handle.remove()
        return seen[0], logits.double().log_softmax(-1)

    def ce(logp):
        return token_nll(logp, contexts)[counted].mean()

    x, clean = run()
    out = dict(counted=counted.sum().int()[None], ce_clean=ce(clean), ce_zero=ce(run(torch.zeros_like(x))[1]))
    for arch, P in saes.items():
        f, _ = encode(arch, P, x)
        x_hat = decode(P, f)
        spliced = run(x_hat)[1]
        kl = (clean.exp() * (clean - spliced)).sum(-1)[:, :-1]
        rows, fires, rows_hat = x[:, :-1][counted].double(), (f > 0)[:, :-1][counted], x_hat[:, :-1][counted].double()
        error = (rows - rows_hat).square().sum()
        scalars = dict(
            ce_spliced=ce(spliced),
            kl=kl[counted].mean(),
            l0=fires.double().sum(-1).mean(),
            mse=error / len(rows),
            explained_variance=1 - error / (rows - rows.mean(0)).square().sum(),
            cosine=torch.cosine_similarity(rows, rows_hat, dim=-1).mean(),
            relative_reconstruction_bias=rows_hat.square().sum() / (rows * rows_hat).sum(),
            loss_recovered=1 - (ce(spliced) - out['ce_clean']) / (out['ce_zero'] - out['ce_clean']))
        out |= {f'{arch}/{name}': v for name, v in scalars.items()}
        out[f'{arch}/density'] = fires.float().mean(0)
    return {name: scalar(v) if v.ndim == 0 else v for name, v in out.items()}


@torch.no_grad()
def make_eval():
    """Position t of a context is counted if neither token t nor token t + 1 is BOS. Every metric is over
    the counted positions only: cross entropy of token t + 1 given the tokens up to t, KL(clean || spliced)
    between the predictions at t, the rest on the activation at t. Spliced and zero-ablated runs replace
    the activation at every position whose token is not BOS, counted or not; those of BOS stay clean."""
    model = load_model()
    tokens = load_file(f'{OUT}/tiny-gemma.safetensors')['tokens']
    acts = record_hooks(model.model)
    model(input_ids=tokens.long(), use_cache=False)
    saes = random_saes(acts[f'blocks.{LAYER}.hook_resid_post'][tokens != BOS])
    contexts = torch.arange(4, dtype=torch.int32)
    inside = ((tokens[:, 1:] == BOS).any(1)).nonzero()[:1, 0].int()  # the first context with a BOS inside

    out = {f'{arch}/{name}': p for arch, P in saes.items() for name, p in P.items()}
    out |= dict(contexts=contexts, **evaluate(model, saes, tokens[contexts]))
    out |= {'boundary/' + k: v for k, v in dict(contexts=inside, **evaluate(model, saes, tokens[inside])).items()}
    for name, v in out.items():
        if len(v) == 1:
            print(f'eval {name} {v.item():.7g}')
    save('eval', out)


def save(name, tensors):
    path = f'{OUT}/{name}.safetensors'
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path)
    print(f'wrote {path}, {os.path.getsize(path)} bytes')


# Each has a separate module, golden_NAME.py with make_NAME().
OTHERS = ['families', 'resampling', 'clip', 'ablations', 'topk', 'batchtopk', 'matryoshka', 'transcoder', 'jumprelu',
          'generation', 'inspect']


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', choices=['model', 'train', *OTHERS, 'eval', 'metrics', 'features', 'steering'],
                        help='make this part alone; eval needs model made, metrics, features and steering need both')
    only = parser.parse_args().only
    torch.set_num_threads(1)  # sums are then rounded the same way on every run
    os.makedirs(OUT, exist_ok=True)
    if only in (None, 'model'):
        make_model()
    if only in (None, 'train'):
        for arch in ('gated', 'standard'):
            for beta1 in (0., 0.9):
                make_train(arch, beta1)
    for name in OTHERS:
        if only in (None, name):
            # They take what is common to all from here.
            getattr(import_module(f'golden_{name}'), f'make_{name}')()
    if only in (None, 'eval'):
        make_eval()
    if only in (None, 'eval', 'metrics'):
        from golden_metrics import make_metrics  # which takes its SAEs' maths from here
        make_metrics()
    if only in (None, 'eval', 'features'):
        from golden_features import make_features
        make_features()
    if only in (None, 'eval', 'features', 'steering'):
        from golden_steering import make_steering
        make_steering()


if __name__ == '__main__':
    main()
