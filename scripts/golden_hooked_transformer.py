"""Make test/golden/gelu-{1l,2l}.safetensors and .pth: models as TransformerLens saves them (GELU-1L), in float32.

    python scripts/golden_hooked_transformer.py     # from the repo root; see golden.py for what to install

Their computation is that of GPT-2 with exact GELU, an untied head and a bias of the logits, so transformers' GPT-2 gives
the reference, with the weights laid out as it has them. Formats are those of golden_families.py; the .pth is torch.save
of the state dict: an OrderedDict with the buffers that TransformerLens adds, and a plain dict of float16.
"""
import json
import os
from collections import OrderedDict

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from golden import OUT, token_nll
from golden_families import POSITIONS, T, VOCABULARY, integer_weights
from hook_points import hook_points, record_hooks, text_model

MODELS = {
    'gelu-1l': dict(d_model=24, n_layers=1, d_mlp=44, d_head=8, n_heads=3, n_ctx=64, d_vocab=VOCABULARY,
                    tokenizer_name='none', act_fn='gelu', attn_only=False, normalization='LN', shortformer_pos=False),
    'gelu-2l': dict(d_model=20, n_layers=2, d_mlp=28, d_head=10, n_heads=2, n_ctx=53, d_vocab=VOCABULARY,
                    tokenizer_name='none', act_fn='gelu_new', attn_only=False, normalization_type='LN'),
}


def shapes_of(c):
    d, h, k, m, v = (c[key] for key in ('d_model', 'n_heads', 'd_head', 'd_mlp', 'd_vocab'))
    shapes = {'embed.W_E': [v, d], 'pos_embed.W_pos': [c['n_ctx'], d]}
    for i in range(c['n_layers']):
        b = f'blocks.{i}'
        shapes |= {f'{b}.{norm}.{part}': [d] for norm in ('ln1', 'ln2') for part in 'wb'}
        shapes |= {f'{b}.attn.W_{x}': [h, d, k] for x in 'QKV'} | {f'{b}.attn.b_{x}': [h, k] for x in 'QKV'}
        shapes |= {f'{b}.attn.W_O': [h, k, d], f'{b}.attn.b_O': [d], f'{b}.mlp.W_in': [d, m], f'{b}.mlp.b_in': [m],
                   f'{b}.mlp.W_out': [m, d], f'{b}.mlp.b_out': [d]}
    return shapes | {'ln_final.w': [d], 'ln_final.b': [d], 'unembed.W_U': [d, v], 'unembed.b_U': [v]}


def reference(c, w):
    """-> GPT-2 with these weights; the bias of the logits is still to be added"""
    config = GPT2Config(n_embd=c['d_model'], n_layer=c['n_layers'], n_head=c['n_heads'], n_inner=c['d_mlp'],
                        n_positions=c['n_ctx'], vocab_size=c['d_vocab'], activation_function=c['act_fn'],
                        tie_word_embeddings=False, attn_implementation='eager')
    state = {'transformer.wte.weight': w['embed.W_E'], 'transformer.wpe.weight': w['pos_embed.W_pos'],
             'transformer.ln_f.weight': w['ln_final.w'], 'transformer.ln_f.bias': w['ln_final.b'],
             'lm_head.weight': w['unembed.W_U'].T}
    for i in range(c['n_layers']):
        b, h = f'blocks.{i}', f'transformer.h.{i}'
        for n in '12':
            state |= {f'{h}.ln_{n}.weight': w[f'{b}.ln{n}.w'], f'{h}.ln_{n}.bias': w[f'{b}.ln{n}.b']}
        columns = [w[f'{b}.attn.W_{x}'].permute(1, 0, 2).flatten(1) for x in 'QKV']
        state |= {f'{h}.attn.c_attn.weight': torch.cat(columns, 1),
                  f'{h}.attn.c_attn.bias': torch.cat([w[f'{b}.attn.b_{x}'].flatten() for x in 'QKV']),
                  f'{h}.attn.c_proj.weight': w[f'{b}.attn.W_O'].flatten(0, 1), f'{h}.attn.c_proj.bias': w[f'{b}.attn.b_O'],
                  f'{h}.mlp.c_fc.weight': w[f'{b}.mlp.W_in'], f'{h}.mlp.c_fc.bias': w[f'{b}.mlp.b_in'],
                  f'{h}.mlp.c_proj.weight': w[f'{b}.mlp.W_out'], f'{h}.mlp.c_proj.bias': w[f'{b}.mlp.b_out']}
    model = GPT2LMHeadModel(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return model.eval()


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    for name, c in MODELS.items():
        shapes = shapes_of(c)
        w = {tensor: integer_weights(tensor, shape, None) for tensor, shape in shapes.items()}
        model = reference(c, w)
        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(3, 90, (3, T), generator=generator, dtype=torch.int32)
        tokens[:2, 0] = 2
        acts = record_hooks(text_model(model))
        nll = token_nll(model(input_ids=tokens.long(), use_cache=False).logits + w['unembed.b_U'], tokens)
        hooks = list(hook_points(text_model(model)))
        model(input_ids=tokens[:1].long(), use_cache=False)
        out = dict(tokens=tokens, nll=nll, positions=torch.tensor(POSITIONS, dtype=torch.int32),
                   norms=torch.stack([acts[h][0].double().norm() for h in hooks]))
        out |= {h: acts[h][0, POSITIONS] for h in hooks}
        metadata = dict(config=json.dumps(c), tensors=json.dumps(shapes), hooks=json.dumps(hooks))
        path = f'{OUT}/{name}.safetensors'
        save_file({k: v.contiguous().clone() for k, v in out.items()}, path, metadata)
        if name == 'gelu-1l':
            buffers = {f'blocks.0.attn.{b}': t for b, t in (('mask', torch.ones(4, 4, dtype=torch.bool)), ('IGNORE', torch.tensor(-1e5)))}
            saved = OrderedDict(w | buffers)
            saved._metadata = OrderedDict({'': dict(version=1)})
        else:
            saved = {key: value.half() for key, value in w.items()}
        torch.save(saved, f'{OUT}/{name}.pth')
        print(f'wrote {path}, {os.path.getsize(path)} + {os.path.getsize(path.replace("safetensors", "pth"))} bytes; '
              f'mean NLL {nll.mean():.4f}')


if __name__ == '__main__':
    main()
