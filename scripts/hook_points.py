"""Where TransformerLens's hook points lie in transformers' models, of every family.

As in TransformerLens, hook_attn_out and hook_mlp_out are what is added to the residual stream: where a family has norms
after attention and MLP, what comes out of those. hook_normalized is a norm's value before its weight and bias.
"""
import torch


def INPUT(module, args, out):
    return args[0]


def OUTPUT(module, args, out):
    return out


def normalised(module, args, out):
    x = args[0].float()
    if isinstance(module, torch.nn.LayerNorm):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=module.eps)
    eps = getattr(module, 'eps', None) or module.variance_epsilon
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def text_model(model):
    """-> the transformer proper, without its head"""
    inner = next(getattr(model, name) for name in ('gpt_neox', 'transformer', 'model') if hasattr(model, name))
    return getattr(inner, 'language_model', inner)


def gated_block(layer):
    """Gemma, Llama, Mistral, Qwen"""
    attn, mlp = layer.self_attn, layer.mlp
    post_norms = hasattr(layer, 'post_feedforward_layernorm')
    before_mlp = layer.pre_feedforward_layernorm if hasattr(layer, 'pre_feedforward_layernorm') else layer.post_attention_layernorm
    return {
        'hook_resid_pre': (layer, INPUT),
        'ln1.hook_normalized': (layer.input_layernorm, normalised),
        'attn.hook_q': (attn.q_proj, OUTPUT),
        # a layer of Gemma 4 may take the keys and values of another, or its keys for values
        **{f'attn.hook_{name}': (getattr(attn, f'{name}_proj'), OUTPUT)
           for name in 'kv' if getattr(attn, f'{name}_proj', None) is not None},
        'attn.hook_z': (attn.o_proj, INPUT),
        'hook_attn_out': (layer.post_attention_layernorm if post_norms else attn.o_proj, OUTPUT),
        'hook_resid_mid': (before_mlp, INPUT),
        'ln2.hook_normalized': (before_mlp, normalised),
        'mlp.hook_in': (mlp, INPUT),
        'mlp.hook_pre': (mlp.gate_proj, OUTPUT),
        'mlp.hook_pre_linear': (mlp.up_proj, OUTPUT),
        'mlp.hook_post': (mlp.down_proj, INPUT),
        'hook_mlp_out': (layer.post_feedforward_layernorm if post_norms else mlp.down_proj, OUTPUT),
        'hook_resid_post': (layer, OUTPUT),
    }


def neox_block(layer):
    attn, mlp = layer.attention, layer.mlp
    heads = attn.query_key_value.out_features // (3 * attn.head_size)

    def part(i):
        # rows are by head, then q | k | v
        return lambda module, args, out: out.unflatten(-1, (heads, 3, attn.head_size))[..., i, :].flatten(-2)

    points = {
        'hook_resid_pre': (layer, INPUT),
        'ln1.hook_normalized': (layer.input_layernorm, normalised),
        **{f'attn.hook_{name}': (attn.query_key_value, part(i)) for i, name in enumerate('qkv')},
        'attn.hook_z': (attn.dense, INPUT),
        'hook_attn_out': (attn.dense, OUTPUT),
        'hook_resid_mid': (layer.post_attention_layernorm, INPUT),
        'ln2.hook_normalized': (layer.post_attention_layernorm, normalised),
        'mlp.hook_in': (mlp, INPUT),
        'mlp.hook_pre': (mlp.dense_h_to_4h, OUTPUT),
        'mlp.hook_post': (mlp.dense_4h_to_h, INPUT),
        'hook_mlp_out': (mlp.dense_4h_to_h, OUTPUT),
        'hook_resid_post': (layer, OUTPUT),
    }
    if layer.use_parallel_residual:
        del points['hook_resid_mid']
    return points


def gpt2_block(layer):
    attn, mlp = layer.attn, layer.mlp
    return {
        'hook_resid_pre': (layer, INPUT),
        'ln1.hook_normalized': (layer.ln_1, normalised),
        **{f'attn.hook_{name}': (attn.c_attn, lambda module, args, out, i=i: out.chunk(3, -1)[i])
           for i, name in enumerate('qkv')},
        'attn.hook_z': (attn.c_proj, INPUT),
        'hook_attn_out': (attn.c_proj, OUTPUT),
        'hook_resid_mid': (layer.ln_2, INPUT),
        'ln2.hook_normalized': (layer.ln_2, normalised),
        'mlp.hook_in': (mlp, INPUT),
        'mlp.hook_pre': (mlp.c_fc, OUTPUT),
        'mlp.hook_post': (mlp.c_proj, INPUT),
        'hook_mlp_out': (mlp.c_proj, OUTPUT),
        'hook_resid_post': (layer, OUTPUT),
    }


def hook_points(model):
    """-> hook name -> (module, what of its call is the value), in the order of computation

    model: the transformer proper"""
    if hasattr(model, 'h'):
        blocks, block, embed, final = model.h, gpt2_block, (model.wte, OUTPUT), model.ln_f
    elif hasattr(model, 'embed_in'):
        blocks, block, embed, final = model.layers, neox_block, (model.embed_in, OUTPUT), model.final_layer_norm
    else:
        # Gemma 1 scales its embeddings outside of the module; they are what enters the first block
        blocks, block, embed, final = model.layers, gated_block, (model.layers[0], INPUT), model.norm
    points = {'hook_embed': embed}
    for i, layer in enumerate(blocks):
        points |= {f'blocks.{i}.{site}': point for site, point in block(layer).items()}
    return points | {'ln_final.hook_normalized': (final, normalised)}


def record_hooks(model):
    """Register forward hooks that keep the activations at every hook point in the returned dict."""
    acts = {}

    def keep(name, read):
        def hook(module, args, out):
            acts[name] = read(module, args, out[0] if isinstance(out, tuple) else out)
        return hook

    for name, (module, read) in hook_points(model).items():
        module.register_forward_hook(keep(name, read))
    return acts
