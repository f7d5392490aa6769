"""Make test/golden/steering.safetensors: logits of the bundled model with features changed by PyTorch hooks, in float32.

    python scripts/golden.py --only steering        # from the repo root, once eval and features are made; see golden.py

The prompt is the first 12 tokens of tiny-gemma.safetensors, BOS included; features are changed at every token but BOS. The
SAEs are those of features.safetensors, at blocks.2.hook_resid_post; transcoder is a random ReLU transcoder of 24 features
from blocks.2.mlp.hook_in to blocks.2.hook_mlp_out, whose features fire on about a third of all tokens.

    prompt int64 [12]
    features/SAE                int64 [3], the features that are changed: the three that fire most on the prompt
    transcoder/P                its parameters
    SAE/CASE/logits             float32 [256]: every 16th logit after the prompt
    SAE/CASE/tokens             int64 [12], greedily, features being changed at these, too
    gated/token                 int64 [1], the most probable token after the prompt
    gated/effects               float32 [3, 12]: by how much its logit falls when one of the features is 0 at one token; 0 at BOS
    gated/direct                float32 [3]: f W_dec at the last token, through the last norm's weight and divisor and the head
    SAE/gradients               float32 [3, 12], of gated and transcoder: activation x gradient of that token's logit, f (d logit / d f)
    SAE/worth/CASE              float64 [3], of gated and transcoder, CASE set and ablate: mean loss, mean KL(clean || changed), and
                                number of positions at which a feature changed, over the counted positions (next token, and
                                the one before, not BOS) of the first two contexts of tiny-gemma.safetensors
CASE is clean, set (to 3), add (2), scale (by 2.5), ablate; or set-decoded: set, without the error term.
"""
from functools import partial

import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize, relu

from golden import BOS, LAYER, OUT, load_model, save
from golden_features import features_of

PROMPT, NEW = 12, 12
CASES = {
    'clean': None,
    'set': (lambda f: torch.full_like(f, 3), True),
    'add': (lambda f: f + 2, True),
    'scale': (lambda f: 2.5 * f, True),
    'ablate': (torch.zeros_like, True),
    'set-decoded': (lambda f: torch.full_like(f, 3), False),
}


def random_transcoder(x):
    """-> parameters of a transcoder that reads x [tokens, d]"""
    randn = partial(torch.randn, generator=torch.Generator().manual_seed(7))
    P = dict(W_enc=normalize(randn(x.shape[-1], 24), dim=0), W_dec=0.5 * normalize(randn(24, x.shape[-1]), dim=1),
             b_dec=0.1 * randn(x.shape[-1]))
    return P | dict(b_enc=-(x @ P['W_enc']).quantile(2 / 3, dim=0))


class Steering:
    """Hooks that change features where a model computes."""

    def __init__(self, model, arch, P, chosen, case):
        self.arch, self.P, self.chosen, self.case = arch, P, chosen, case
        layer = model.model.layers[LAYER]
        self.read = None
        if arch == 'transcoder':
            layer.mlp.register_forward_pre_hook(lambda module, args: setattr(self, 'read', args[0]))
            self.handle = layer.mlp.register_forward_hook(lambda module, args, out: self.changed(out, self.read))
        else:
            self.handle = layer.register_forward_hook(lambda module, args, out: self.changed(out, out))

    def features(self, x):
        if self.arch == 'transcoder':
            return relu(x @ self.P['W_enc'] + self.P['b_enc'])
        return features_of(self.arch, self.P, x)

    def changed(self, y, x):
        self.seen = self.features(x)
        if self.case is None:
            return y
        change, error_term = self.case
        decode = lambda f: f @ self.P['W_dec'] + self.P['b_dec']
        f = self.seen
        new = f.clone()
        new[..., self.chosen] = change(f[..., self.chosen])
        out = decode(new) + (y - decode(f) if error_term else 0)
        return torch.cat([y[:, :1], out[:, 1:]], 1)


def attribution(P, chosen, prompt):
    model = load_model()
    layer, norm = model.model.layers[LAYER], model.model.norm
    ablated, seen = None, {}

    def hook(module, args, x):
        f = features_of('gated', P, x)
        seen['f'] = f
        if ablated is None:
            return x
        feature, position = ablated
        x = x.clone()
        x[0, position] -= f[0, position, feature] * P['W_dec'][feature]
        return x

    layer.register_forward_hook(hook)
    norm.register_forward_pre_hook(lambda module, args: seen.update(x=args[0]))

    def logits():
        return model(input_ids=prompt, use_cache=False).logits[0, -1]

    clean = logits()
    token = clean.argmax()
    f = seen['f'][0, -1, chosen]
    divisor = (seen['x'][0, -1].square().mean() + norm.eps).sqrt()
    direct = f * ((P['W_dec'][chosen] * (1 + norm.weight)) @ model.lm_head.weight[token]) / divisor
    effects = torch.zeros(len(chosen), PROMPT)
    for i, feature in enumerate(chosen):
        for position in range(1, PROMPT):
            ablated = feature, position
            effects[i, position] = clean[token] - logits()[token]
    return dict(token=token[None], effects=effects, direct=direct)


@torch.enable_grad()
def gradients(arch, P, chosen, prompt, token):
    """-> activation x gradient [chosen, tokens] of a logit after the prompt"""
    model = load_model().requires_grad_(False)
    watch = Steering(model, arch, P, None, None)
    leaf = {}

    def cut(module, args, y):
        leaf['y'] = y.detach().requires_grad_(True)
        return leaf['y']

    layer = model.model.layers[LAYER]
    (layer.mlp if arch == 'transcoder' else layer).register_forward_hook(cut)
    model(input_ids=prompt, use_cache=False).logits[0, -1, token].backward()
    return (watch.seen[0][:, chosen] * (leaf['y'].grad[0] @ P['W_dec'][chosen].T)).T.contiguous().detach()


def worth(arch, P, chosen, case, tokens):
    """-> mean loss, mean KL and changed positions of contexts without an inner BOS"""
    assert (tokens[:, 1:] != BOS).all()
    model = load_model()
    clean = model(input_ids=tokens, use_cache=False).logits[:, 1:-1].double().log_softmax(-1)
    watch = Steering(model, arch, P, chosen, case)
    changed = model(input_ids=tokens, use_cache=False).logits[:, 1:-1].double().log_softmax(-1)
    f = watch.seen[:, 1:-1, chosen]
    return torch.stack([-changed.gather(-1, tokens[:, 2:, None]).mean(),
                        (clean.exp() * (clean - changed)).sum(-1).mean(),
                        (case[0](f) != f).any(-1).sum().double()])


@torch.no_grad()
def make_steering():
    tokens = load_file(f'{OUT}/tiny-gemma.safetensors')['tokens']
    prompt = tokens[:1, :PROMPT].long()
    made = load_file(f'{OUT}/eval.safetensors')
    gated, standard = ({name.split('/')[1]: v for name, v in made.items()
                        if name.startswith(f'{arch}/') and name.split('/')[1].split('_')[0] in ('W', 'b', 'r')}
                       for arch in ('gated', 'standard'))
    threshold = load_file(f'{OUT}/features.safetensors')['jumprelu/threshold']
    seen = []
    model = load_model()
    handle = model.model.layers[LAYER].mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(input_ids=tokens[:1].long(), use_cache=False)
    handle.remove()
    saes = dict(gated=gated, jumprelu=standard | dict(threshold=threshold), topk=standard,
                transcoder=random_transcoder(seen[0][0, 1:]))
    out = dict(prompt=prompt[0])
    out |= {f'transcoder/{name}': p.contiguous() for name, p in saes['transcoder'].items()}
    for arch, P in saes.items():
        model = load_model()
        watch = Steering(model, arch, P, None, None)
        model(input_ids=prompt, use_cache=False)
        chosen = (watch.seen[0, 1:] > 0).float().sum(0).topk(3).indices.sort().values
        out[f'features/{arch}'] = chosen
        for name, case in CASES.items():
            model = load_model()
            Steering(model, arch, P, chosen, case)
            grown = prompt
            for _ in range(NEW + 1):
                logits = model(input_ids=grown, use_cache=False).logits[0, -1]
                if grown is prompt:
                    out[f'{arch}/{name}/logits'] = logits[::16].clone()
                top = logits.topk(2).values
                assert top[0] - top[1] > 1e-3, (arch, name, top)
                grown = torch.cat([grown, logits.argmax()[None, None]], 1)
            out[f'{arch}/{name}/tokens'] = grown[0, PROMPT:PROMPT + NEW].clone()
        if arch == 'gated':
            out |= {f'gated/{name}': value for name, value in attribution(P, chosen, prompt).items()}
        if arch in ('gated', 'transcoder'):
            out[f'{arch}/gradients'] = gradients(arch, P, chosen, prompt, out['gated/token'][0])
            for name in ('set', 'ablate'):
                out[f'{arch}/worth/{name}'] = worth(arch, P, chosen, CASES[name], tokens[:2].long())
        moved = {name: float((out[f'{arch}/{name}/logits'] - out[f'{arch}/clean/logits']).abs().max()) for name in CASES}
        print(arch, chosen.tolist(), {name: round(by, 3) for name, by in moved.items()})
        assert all(by > 1e-2 for name, by in moved.items() if name != 'clean')
    save('steering', out)
