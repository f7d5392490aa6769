"""Make test/golden/generation.json: what transformers generates greedily with the models of golden_families.py.

    python scripts/golden.py --only generation        # from the repo root; see golden.py for what to install

Each model has 256 positions here, whatever golden_families.py gives it; its weights are the same formula. Of the first
prompts whose 200 tokens are never nearer to the second most probable one than MARGIN, so that no rounding decides, the one
is taken that is followed by the most different tokens.

    NAME: prompt [24], tokens [200]: token numbers
"""
import json

import torch

from golden import OUT
from golden_families import MODELS, load, saved_as

PROMPT, NEW, POSITIONS, MARGIN, PROMPTS, ENOUGH = 24, 200, 256, 1e-3, 8, 20


def configured(name):
    configure = MODELS[name][1]
    if name.startswith('gpt2'):
        return configure(n_positions=POSITIONS)
    config = configure()
    getattr(config, 'text_config', config).max_position_embeddings = POSITIONS
    return config


def greedy(model, prompt):
    """-> the tokens that follow, and the least difference of the two largest logits at any of them"""
    model.generation_config.eos_token_id = None
    tokens = model.generate(prompt[None], attention_mask=torch.ones_like(prompt[None]), max_new_tokens=NEW,
                            do_sample=False, pad_token_id=0)[0]
    top = model(input_ids=tokens[None], use_cache=False).logits[0, PROMPT - 1:-1].topk(2).values
    return tokens[PROMPT:], (top[:, 0] - top[:, 1]).min()


@torch.no_grad()
def make_generation():
    out = {}
    for name in MODELS:
        cls, _, _ = MODELS[name]
        _, tensors = saved_as(cls(configured(name)))
        model = load(cls, configured(name), tensors)
        best = ()
        for seed in range(1, 1 + PROMPTS):
            prompt = torch.randint(3, 90, (PROMPT,), generator=torch.Generator().manual_seed(seed))
            tokens, margin = greedy(model, prompt)
            different = len(set(tokens.tolist()))
            if margin > MARGIN and different > (best[0] if best else 0):
                best = different, seed, float(margin), dict(prompt=prompt.tolist(), tokens=tokens.tolist())
            if best and best[0] >= ENOUGH:
                break
        assert best, f'{name}: every prompt has a token that rounding might decide'
        different, seed, margin, out[name] = best
        print(f'{name}: seed {seed}, margin {margin:.1e}, {different} different tokens', flush=True)
    with open(f'{OUT}/generation.json', 'w') as f:
        f.write('{\n' + ',\n'.join(f'"{name}": {json.dumps(one)}' for name, one in out.items()) + '\n}\n')
