"""Make test/golden/{family}-*.safetensors: two models of every family in float32, by transformers.

    python scripts/golden.py --only families         # from the repo root; see golden.py for what to install
    python scripts/golden_families.py llama          # only those whose names begin so

The weights are not stored: integer_weights() gives them from their names, here and in test/lm/random-model.ts, as
multiples of a power of two below 128 in magnitude, which float32, float16 and bfloat16 all hold exactly. One golden so
serves checkpoints of every element type.

    tokens       int32 [3, 48]       nll      float32 [3, 47]     nll[c, t] is that of token t + 1, in nats
    positions    int32 [4]           <hook>   float32 [4, width]  context 0 at the positions; TransformerLens's names
    norms, largest    float64 [hooks]         Frobenius norm and largest |entry| of each hook over all of context 0
    zero/<hook>  float64 [1]    mean nll of the two contexts with BOS from position 1 on, with the hook zero at every position but the first,
                                for the sites of ABLATED at layer 1
    metadata: config (the config.json that transformers wrote), tensors (name -> shape, as it saved them), hooks
"""
import json
import os
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (
    Gemma2Config, Gemma2ForCausalLM, Gemma4ForCausalLM, Gemma4TextConfig, Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration,
    Gemma3TextConfig, GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel,
    GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
    Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, VaultGemmaConfig,
    VaultGemmaForCausalLM)

from transformers.utils.logging import disable_progress_bar

from golden import OUT, scalar, token_nll
from hook_points import INPUT, OUTPUT, hook_points, record_hooks, text_model

disable_progress_bar()

VOCABULARY, T = 97, 48
POSITIONS = [0, 9, 24, 47]
ABLATED = ['attn.hook_q', 'attn.hook_k', 'attn.hook_v', 'attn.hook_z', 'hook_attn_out', 'mlp.hook_pre', 'mlp.hook_post', 'hook_mlp_out', 'hook_resid_post']
# small, odd, and such that heads * head_dim is not hidden_size
SHARED = dict(vocab_size=VOCABULARY, max_position_embeddings=64, attn_implementation='eager')
VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=8)


def nested(**text):
    return Gemma3Config(text_config=Gemma3TextConfig(**text, **SHARED), vision_config=VISION, mm_tokens_per_image=4,
                        boi_token_index=90, eoi_token_index=91, image_token_index=92, attn_implementation='eager')


# name -> model class, configuration, and what must matter: changes that have to move some token's loss
MODELS = {
    'gemma-mqa': (GemmaForCausalLM, lambda **o: GemmaConfig(**dict(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=16,
        intermediate_size=40) | o, **SHARED), []),
    'gemma-gqa': (GemmaForCausalLM, lambda **o: GemmaConfig(**dict(
        hidden_size=28, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=44, rms_norm_eps=1e-2, tie_word_embeddings=False,
        rope_parameters=dict(rope_type='default', rope_theta=500.)) | o, **SHARED),
        [dict(rms_norm_eps=1e-6), dict(rope_parameters=dict(rope_type='default', rope_theta=10000.))]),
    'gemma2-mqa': (Gemma2ForCausalLM, lambda **o: Gemma2Config(**dict(
        hidden_size=24, num_hidden_layers=5, num_attention_heads=2, num_key_value_heads=1, head_dim=24,
        intermediate_size=40, sliding_window=11, query_pre_attn_scalar=20, attn_logit_softcapping=5.,
        final_logit_softcapping=4.) | o, **SHARED),
        [dict(sliding_window=12), dict(query_pre_attn_scalar=24), dict(attn_logit_softcapping=None),
         dict(final_logit_softcapping=None)]),
    # 12 is not a multiple of 8: a head size for which ONNX Runtime's GroupQueryAttention has no kernel
    'gemma2-gqa': (Gemma2ForCausalLM, lambda **o: Gemma2Config(**dict(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
        intermediate_size=36, sliding_window=7, query_pre_attn_scalar=10, attn_logit_softcapping=3.,
        final_logit_softcapping=6.) | o, **SHARED),
        [dict(sliding_window=8), dict(query_pre_attn_scalar=12), dict(attn_logit_softcapping=None),
         dict(final_logit_softcapping=None)]),
    'gemma3-mqa': (Gemma3ForCausalLM, lambda **o: Gemma3TextConfig(**dict(
        hidden_size=24, num_hidden_layers=8, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=40, sliding_window=9, query_pre_attn_scalar=20) | o, **SHARED),
        [dict(sliding_window=10), dict(query_pre_attn_scalar=16), dict(rope_parameters=dict(
            full_attention=dict(rope_type='default', rope_theta=1e4),
            sliding_attention=dict(rope_type='default', rope_theta=1e4)))]),
    'gemma3-gqa': (Gemma3ForConditionalGeneration, lambda **o: nested(**dict(
        hidden_size=32, num_hidden_layers=7, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=36, sliding_window=6, query_pre_attn_scalar=10, rope_parameters=dict(
            full_attention=dict(rope_type='linear', factor=4., rope_theta=1e6),
            sliding_attention=dict(rope_type='default', rope_theta=1e4))) | o),
        [dict(sliding_window=7), dict(layer_types=['sliding_attention'] * 7), dict(rope_parameters=dict(
            full_attention=dict(rope_type='default', rope_theta=1e6),
            sliding_attention=dict(rope_type='default', rope_theta=1e4)))]),
    # its code needs heads that divide hidden_size
    'vault-gqa': (VaultGemmaForCausalLM, lambda **o: VaultGemmaConfig(**dict(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
        intermediate_size=36, sliding_window=9, query_pre_attn_scalar=14, attn_logit_softcapping=5.,
        final_logit_softcapping=4.) | o, **SHARED),
        [dict(sliding_window=10), dict(query_pre_attn_scalar=24), dict(attn_logit_softcapping=None)]),
    'vault-mqa': (VaultGemmaForCausalLM, lambda **o: VaultGemmaConfig(**dict(
        hidden_size=20, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=28, sliding_window=13, rms_norm_eps=1e-2, final_logit_softcapping=None) | o, **SHARED),
        [dict(rms_norm_eps=1e-6), dict(final_logit_softcapping=3.)]),
    # values that are keys, in wider heads
    'gemma4-dense': (Gemma4ForCausalLM, lambda **o: Gemma4TextConfig(**dict(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
        global_head_dim=20, num_global_key_value_heads=1, attention_k_eq_v=True, intermediate_size=36, sliding_window=9,
        hidden_size_per_layer_input=0, final_logit_softcapping=4., layer_types=['sliding_attention', 'full_attention'] * 2,
        rope_parameters=dict(
            full_attention=dict(rope_type='proportional', partial_rotary_factor=0.5, rope_theta=50.),
            sliding_attention=dict(rope_type='default', rope_theta=1e4))) | o, **SHARED),
        [dict(sliding_window=10), dict(final_logit_softcapping=None), dict(rope_parameters=dict(
            full_attention=dict(rope_type='proportional', partial_rotary_factor=0.25, rope_theta=50.),
            sliding_attention=dict(rope_type='default', rope_theta=1e4)))]),
    # embeddings of each layer; the last two layers take the keys and values of others
    'gemma4-e': (Gemma4ForCausalLM, lambda **o: Gemma4TextConfig(**dict(
        hidden_size=20, num_hidden_layers=6, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        global_head_dim=12, intermediate_size=28, sliding_window=7, hidden_size_per_layer_input=6,
        vocab_size_per_layer_input=VOCABULARY, num_kv_shared_layers=3, use_double_wide_mlp=True,
        layer_types=['sliding_attention', 'sliding_attention', 'full_attention'] * 2) | o, **SHARED),
        [dict(sliding_window=8), dict(rms_norm_eps=1e-1)]),
    'llama-gqa': (LlamaForCausalLM, lambda **o: LlamaConfig(**dict(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
        intermediate_size=36, bos_token_id=2, eos_token_id=1, rope_parameters=dict(
            rope_type='llama3', rope_theta=500., factor=8., low_freq_factor=1., high_freq_factor=4.,
            original_max_position_embeddings=32)) | o, **SHARED),
        [dict(rope_parameters=dict(rope_type='default', rope_theta=500.)),
         dict(rope_parameters=dict(rope_type='linear', rope_theta=500., factor=8.))]),
    # biases everywhere, as Llama's code allows; a tied head, as Llama 3.2 has
    'llama-biased': (LlamaForCausalLM, lambda **o: LlamaConfig(**dict(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        intermediate_size=28, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-2,
        bos_token_id=2, eos_token_id=1, rope_parameters=dict(rope_type='linear', rope_theta=1e4, factor=2.)) | o,
        **SHARED), [dict(rms_norm_eps=1e-6), dict(rope_parameters=dict(rope_type='default', rope_theta=1e4))]),
    'mistral-window': (MistralForCausalLM, lambda **o: MistralConfig(**dict(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=36, sliding_window=11, bos_token_id=2, eos_token_id=1) | o, **SHARED),
        [dict(sliding_window=12), dict(sliding_window=None)]),
    'mistral-full': (MistralForCausalLM, lambda **o: MistralConfig(**dict(
        hidden_size=20, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=1, head_dim=6,
        intermediate_size=28, sliding_window=None, bos_token_id=2, eos_token_id=1,
        rope_parameters=dict(rope_type='default', rope_theta=1e6)) | o, **SHARED),
        [dict(sliding_window=11), dict(rope_parameters=dict(rope_type='default', rope_theta=1e4))]),
    'qwen2-gqa': (Qwen2ForCausalLM, lambda **o: Qwen2Config(**dict(
        hidden_size=28, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=36,
        tie_word_embeddings=True, eos_token_id=1, rope_parameters=dict(rope_type='default', rope_theta=1e6)) | o,
        **SHARED), [dict(rope_parameters=dict(rope_type='default', rope_theta=1e4))]),
    'qwen2-window': (Qwen2ForCausalLM, lambda **o: Qwen2Config(**dict(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4, intermediate_size=28,
        use_sliding_window=True, sliding_window=9, max_window_layers=2, eos_token_id=1) | o, **SHARED),
        [dict(sliding_window=10), dict(max_window_layers=1), dict(use_sliding_window=False)]),
    'qwen3-gqa': (Qwen3ForCausalLM, lambda **o: Qwen3Config(**dict(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=36, eos_token_id=1, rope_parameters=dict(rope_type='default', rope_theta=1e6)) | o,
        **SHARED), [dict(rope_parameters=dict(rope_type='default', rope_theta=1e4))]),
    'qwen3-biased': (Qwen3ForCausalLM, lambda **o: Qwen3Config(**dict(
        hidden_size=20, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=12,
        intermediate_size=28, tie_word_embeddings=True, attention_bias=True, eos_token_id=1) | o, **SHARED), []),
    # 20 of 80 entries of a head are rotated in Pythia 2.8B; here 4 of 18
    'neox-parallel': (GPTNeoXForCausalLM, lambda **o: GPTNeoXConfig(**dict(
        hidden_size=36, num_hidden_layers=3, num_attention_heads=2, intermediate_size=44, bos_token_id=2,
        eos_token_id=1) | o, **SHARED), [dict(use_parallel_residual=False), dict(hidden_act='gelu_new', may_be=1e-4)]),
    'neox-sequential': (GPTNeoXForCausalLM, lambda **o: GPTNeoXConfig(**dict(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=28, bos_token_id=2,
        eos_token_id=1, use_parallel_residual=False, hidden_act='gelu_new', layer_norm_eps=1e-2,
        rope_parameters=dict(rope_type='linear', rope_theta=500., factor=2., partial_rotary_factor=1.)) | o, **SHARED),
        [dict(layer_norm_eps=1e-5), dict(rope_parameters=dict(
            rope_type='default', rope_theta=500., partial_rotary_factor=1.))]),
    'gpt2-tied': (GPT2LMHeadModel, lambda **o: GPT2Config(**dict(
        n_embd=24, n_layer=3, n_head=3, bos_token_id=2, eos_token_id=1, n_positions=64) | o,
        vocab_size=VOCABULARY, attn_implementation='eager'), [dict(n_head=4)]),
    'gpt2-scaled': (GPT2LMHeadModel, lambda **o: GPT2Config(**dict(
        n_embd=20, n_layer=3, n_head=2, n_inner=28, bos_token_id=2, eos_token_id=1, n_positions=51,
        scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True, activation_function='gelu',
        layer_norm_epsilon=1e-2, tie_word_embeddings=False) | o, vocab_size=VOCABULARY, attn_implementation='eager'),
        [dict(scale_attn_by_inverse_layer_idx=False), dict(layer_norm_epsilon=1e-5)]),
}


# families that store norm weights as offsets from 1
OFFSET_NORMS = ('gemma', 'gemma2', 'gemma3', 'gemma3_text', 'vaultgemma')


def integer_weights(name, shape, model_type):
    """-> float32 [shape], uniform on multiples of a power of two; the formula is that of random-model.ts"""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    with np.errstate(over='ignore'):
        h = np.uint32(seed) + np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B1)
        h = (h ^ h >> np.uint32(15)) * np.uint32(0x85EBCA6B)
        h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    # queries and keys large enough for soft-caps and windows to matter, embeddings for the logits
    is_norm = any(part in name for part in ('norm', 'ln_', '.ln')) and name.endswith(('weight', '.w'))
    norm = model_type not in OFFSET_NORMS and is_norm or 'layer_scalar' in name
    # Gemma 4 does not divide its scores: with larger weights here a softmax would amplify roundings
    norm = norm and not (model_type == 'gemma4_text' and ('q_norm' in name or 'k_norm' in name))
    wide = norm or any(part in name for part in (
        'q_proj', 'k_proj', 'query_key', 'c_attn', 'embed', 'lm_head', 'wte', 'W_Q', 'W_K'))
    values = ((h % np.uint32(255)).astype(np.float32) - 127) * np.float32(2.0 ** (-7 if wide else -8)) + norm
    return torch.from_numpy(values.reshape(shape))


def saved_as(model):
    """-> the config.json that transformers writes, and name -> shape of the tensors it saves"""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        with open(f'{directory}/config.json') as f:
            config = json.load(f)
        with safe_open(f'{directory}/model.safetensors', 'pt') as f:
            return config, {name: list(f.get_slice(name).get_shape()) for name in f.keys()}


def load(cls, config, tensors):
    """-> the model with integer_weights(), through a checkpoint as transformers reads it"""
    with tempfile.TemporaryDirectory() as directory:
        cls(config).save_pretrained(directory)
        save_file({name: integer_weights(name, shape, config.model_type) for name, shape in tensors.items()},
                  f'{directory}/model.safetensors', {'format': 'pt'})
        model, report = cls.from_pretrained(directory, dtype=torch.float32, attn_implementation='eager',
                                            output_loading_info=True)
    assert not report['missing_keys'] and not report['unexpected_keys'], report
    return model.eval()


def losses(model, tokens):
    return token_nll(model(input_ids=tokens.long(), use_cache=False).logits, tokens)


def ablated_loss(model, name, tokens):
    """-> mean loss of what follows positions 1 and on, with the hook set to zero there; BOS at 0 stays clean"""
    module, read = hook_points(text_model(model))[name]
    assert read in (INPUT, OUTPUT), name

    def zeroed(x):
        if isinstance(x, tuple):
            return zeroed(x[0]), *x[1:]
        return torch.cat([x[:, :1], torch.zeros_like(x[:, 1:])], 1)

    handle = (module.register_forward_hook(lambda module, args, out: zeroed(out)) if read is OUTPUT else
              module.register_forward_pre_hook(lambda module, args: (zeroed(args[0]), *args[1:])))
    nll = losses(model, tokens)
    handle.remove()
    return nll[:, 1:].double().mean()


@torch.no_grad()
def make_families(begins=''):
    for name, (cls, configure, matters) in MODELS.items():
        if not name.startswith(begins):
            continue
        config, tensors = saved_as(cls(configure()))
        model = load(cls, configure(), tensors)
        tokens = torch.randint(3, 90, (2, T), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
        tokens[:, 0] = 2
        # the last context is one without BOS
        tokens = torch.cat([tokens, torch.randint(3, 90, (1, T), generator=torch.Generator().manual_seed(2), dtype=torch.int32)])
        nll = losses(model, tokens)
        for change in matters:
            least = change.pop('may_be', 1e-2)
            moved = (losses(load(cls, configure(**change), tensors), tokens) - nll).abs().max()
            assert moved > least, f'{name}: {change} moves no loss by more than {moved:.1e}'
        points = hook_points(text_model(model))
        ablated = [name for name in (f'blocks.1.{site}' for site in ABLATED)
                   if name in points and points[name][1] in (INPUT, OUTPUT)]
        zero = {name: ablated_loss(model, name, tokens[:2]) for name in ablated}
        acts = record_hooks(text_model(model))
        model(input_ids=tokens[:1].long(), use_cache=False)
        hooks = list(acts)
        out = dict(tokens=tokens, nll=nll, positions=torch.tensor(POSITIONS, dtype=torch.int32),
                   norms=torch.stack([acts[h][0].double().norm() for h in hooks]),
                   largest=torch.stack([acts[h][0].abs().max().double() for h in hooks]))
        out |= {h: acts[h][0, POSITIONS] for h in hooks}
        out |= {f'zero/{h}': scalar(loss) for h, loss in zero.items()}
        metadata = dict(config=json.dumps(config), tensors=json.dumps(tensors), hooks=json.dumps(hooks))
        path = f'{OUT}/{name}.safetensors'
        save_file({k: v.contiguous().clone() for k, v in out.items()}, path, metadata)
        print(f'wrote {path}, {os.path.getsize(path)} bytes; mean NLL {nll.mean():.4f}, '
              f'largest activation {out["largest"].max():.1f}')


if __name__ == '__main__':
    torch.set_num_threads(1)
    make_families(*sys.argv[1:])
