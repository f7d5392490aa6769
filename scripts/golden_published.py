"""Make test/golden/published: SAEs of random weights in the layouts of other programs, and what those compute.

    pip install sae-lens==6.54.12 dictionary-learning==0.1.0 eai-sparsify==1.3.3    # one environment
    python scripts/golden_published.py                                              # from the repo root
    pip install circuit-tracer==0.5.0                                               # another one
    python scripts/golden_published.py --only circuit-tracer

Files are written by the library where it has a writer, else as its loader reads them; f and x_hat are those of the
library's own loader and modules, float32.

    PLACE/...               the SAE, PLACE as in the table below
    PLACE.expected.safetensors      x [rows, d_in], f [rows, d_sae], x_hat [rows, d_out]

Row 0 of jumping SAEs has pre-activations exactly at thresholds, where features do not fire.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

OUT = Path('test/golden/published')
D, F, ROWS = 6, 11, 5


def randn(*shape, seed=[0]):
    seed[0] += 1
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed[0]))


def parts(d_in=D, d_out=D, f=F):
    """Parameters with SAELens's names and shapes, none of them special"""
    return dict(W_enc=randn(d_in, f) / 2, W_dec=randn(f, d_out) / 2, b_enc=randn(f) / 3, b_dec=randn(d_out) / 3)


def thresholds(w, x, subtract=False):
    """Positive ones; of every third feature, where it is positive, the very pre-activation of row 0, which becomes one
    that is encoded without rounding"""
    x[0] = w['b_dec'] if subtract else 0
    out = randn(w['b_enc'].numel()).abs() / 2
    out[::3] = torch.where(w['b_enc'][::3] > 0, w['b_enc'][::3], out[::3])
    return out


def keep(place, x, f, x_hat):
    tensors = dict(x=x, f=f, x_hat=x_hat)
    save_file({name: v.detach().float().contiguous() for name, v in tensors.items()}, OUT / f'{place}.expected.safetensors')
    print(place, 'L0', (f > 0).sum(-1).tolist())


def folder(place):
    path = OUT / place
    path.mkdir(parents=True, exist_ok=True)
    return path


# ---- SAELens: its loaders, with the hub's files taken from here ----

def through_saelens(place, repo, name, loader, x, scale=None, at=None):
    """f and x_hat of the SAE that a loader of SAELens makes of OUT/repo/name"""
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.registry import get_sae_class

    def local(repo_id=None, filename=None, subfolder=None, **_):
        path = OUT / repo_id / (subfolder or '') / filename
        if not path.exists():
            raise loaders.EntryNotFoundError(str(path))
        return str(path)

    def shapes(repo_id, filename):
        from safetensors import safe_open
        with safe_open(OUT / repo_id / filename, framework='pt') as file:
            return {key: list(file.get_slice(key).get_shape()) for key in file.keys()}

    loaders.hf_hub_download = lambda *args, **kw: local(**dict(zip(('repo_id', 'filename'), args)), **kw)
    loaders.get_safetensors_tensor_shapes = shapes
    cfg, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](
        repo_id=repo, folder_name=name, device='cpu', force_download=False, cfg_overrides=dict(dtype='float32'))
    cfg = loaders.handle_config_defaulting(cfg)
    # Sizes of the real models are constants there.
    cfg |= dict(d_in=state['W_enc'].shape[0], d_sae=state['W_enc'].shape[1], dtype='float32', device='cpu')
    if 'd_out' in cfg:
        cfg['d_out'] = state['W_dec'].shape[1]
    sae_class, config_class = get_sae_class(cfg['architecture'])
    sae = sae_class(config_class.from_dict(cfg))
    state = {key: value.float().contiguous() for key, value in state.items()}
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    if cfg['normalize_activations'] == 'expected_average_only_in':
        sae.fold_activation_norm_scaling_factor(scale)
    with torch.no_grad():
        # Flat activations are what is read here.
        if cfg.get('reshape_activations') == 'hook_z' or 'hook_z' in str(cfg['metadata'].get('hook_name')):
            sae.turn_off_forward_pass_hook_z_reshaping()
        f = sae.encode(x)
        x_hat = sae.forward(x) if getattr(sae, 'W_skip', None) is not None else sae.decode(f)
    keep(at or place, x, f, x_hat)


def gemma_scope():
    for kind, name, d_out in (('res', 'layer_1/width_16k/average_l0_4', D), ('att', 'layer_2/width_16k/average_l0_4', D)):
        repo = f'google/gemma-scope-2b-pt-{kind}'
        x = randn(ROWS, D)
        w = parts()
        w['threshold'] = thresholds(w, x)
        np.savez(folder(f'{repo}/{name}') / 'params.npz', **{key: value.numpy() for key, value in w.items()})
        through_saelens(f'{repo}/{name}', repo, name, 'gemma_2', x)
    repo, name = 'google/gemma-scope-2b-pt-transcoders', 'layer_3/width_16k/average_l0_4'
    x = randn(ROWS, D)
    w = parts()
    w['threshold'] = thresholds(w, x)
    np.savez(folder(f'{repo}/{name}') / 'params.npz', **{key: value.numpy() for key, value in w.items()})
    through_saelens(f'{repo}/{name}', repo, name, 'gemma_2_transcoder', x)


def gemma_scope_2():
    repo = 'google/gemma-scope-2-270m-pt'
    hooks = {
        'resid_post/layer_1_width_16k_l0_small': ('model.layers.1.output', None),
        'attn_out_all/layer_1_width_16k_l0_small': ('model.layers.1.self_attn.o_proj.input', None),
        'transcoder/layer_2_width_16k_l0_small': tuple(
            f'model.layers.2.{p}_feedforward_layernorm.output' for p in ('pre', 'post')),
        'transcoder_all/layer_2_width_16k_l0_small_affine': tuple(
            f'model.layers.2.{p}_feedforward_layernorm.output' for p in ('pre', 'post')),
    }
    for name, (hook_in, hook_out) in hooks.items():
        x = randn(ROWS, D)
        w = parts()
        w['threshold'] = thresholds(w, x)
        tensors = {key.replace('W_', 'w_'): value for key, value in w.items()}
        affine = name.endswith('affine')
        if affine:
            tensors['affine_skip_connection'] = randn(D, D) / 2
        path = folder(f'{repo}/{name}')
        save_file(tensors, path / 'params.safetensors')
        # One without its configuration, which some of them lack.
        if 'attn' not in name:
            config = dict(architecture='jump_relu', model_name='gemma-v3-270m-pt', hf_hook_point_in=hook_in,
                          **({} if hook_out is None else dict(hf_hook_point_out=hook_out, affine_connection=affine)))
            (path / 'config.json').write_text(json.dumps(config))
        through_saelens(f'{repo}/{name}', repo, name, 'gemma_3', x)


def llama_scope():
    repo, name, mean = 'fnlp/Llama3_1-8B-Base-LXR-8x', 'Llama3_1-8B-Base-L3R-8x', 1.7
    x = randn(ROWS, D)
    w = parts()
    path = folder(f'{repo}/{name}/checkpoints')
    save_file({'encoder.weight': w['W_enc'].T.contiguous(), 'encoder.bias': w['b_enc'],
               'decoder.weight': w['W_dec'].T.contiguous(), 'decoder.bias': w['b_dec']}, path / 'final.safetensors')
    (path.parent / 'hyperparams.json').write_text(json.dumps(dict(
        d_model=D, d_sae=F, jump_relu_threshold=0.3, hook_point_in='blocks.3.hook_resid_post',
        hook_point_out='blocks.3.hook_resid_post', dataset_average_activation_norm={'in': mean, 'out': mean})))
    through_saelens(f'{repo}/{name}', repo, name, 'llama_scope', x, scale=D ** 0.5 / mean)
    repo, name = 'fnlp/Llama-Scope-R1-Distill', '0-Slimpajama-800M-OpenR1-Math-220k/L3R'
    w = parts(f=2 * D)
    w['threshold'] = randn(2 * D).abs() / 2
    path = folder(f'{repo}/{name}')
    save_file({'encoder.weight': w['W_enc'].T.contiguous(), 'encoder.bias': w['b_enc'],
               'decoder.weight': w['W_dec'].T.contiguous(), 'decoder.bias': w['b_dec'],
               'log_jumprelu_threshold': w['threshold'].log()}, path / 'sae_weights.safetensors')
    (path / 'config.json').write_text(json.dumps(dict(
        d_model=D, expansion_factor=2, hook_point_in='blocks.3.hook_resid_post',
        dataset_average_activation_norm={'in': mean, 'out': mean})))
    through_saelens(f'{repo}/{name}', repo, name, 'llama_scope_r1_distill', x, scale=D ** 0.5 / mean)


def qwen_scope():
    repo, name, d, f = 'Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_3', 'layer5.sae.pt', 2, 1024
    x = randn(ROWS, d)
    w = parts(d, d, f)
    torch.save(dict(W_enc=w['W_enc'].T.contiguous(), W_dec=w['W_dec'].T.contiguous(), b_enc=w['b_enc'],
                    b_dec=w['b_dec']), folder(repo) / name)
    through_saelens(f'{repo}/{name}', repo, name, 'qwen_scope', x)


def saelens():
    """As SAELens writes them, and as its versions before 6 did"""
    from sae_lens.registry import get_sae_class
    cases = dict(standard=dict(), gated=dict(), jumprelu=dict(), topk=dict(k=3), transcoder=dict(d_out=D + 1),
                 skip_transcoder=dict(d_out=D + 1), jumprelu_transcoder=dict(d_out=D))
    for architecture, more in cases.items():
        sae_class, config_class = get_sae_class(architecture)
        plain = 'transcoder' not in architecture
        cfg = dict(architecture=architecture, d_in=D, d_sae=F, dtype='float32', device='cpu', **more,
                   apply_b_dec_to_input=plain, normalize_activations='none',
                   metadata=dict(model_name='m', hook_name='blocks.1.hook_resid_post', context_size=64, prepend_bos=True,
                                 **({} if plain else dict(hook_name_out='blocks.1.hook_mlp_out'))))
        sae = sae_class(config_class.from_dict(cfg))
        x = randn(ROWS, D)
        w = parts(d_out=more.get('d_out', D))
        with torch.no_grad():
            for key, value in sae.named_parameters():
                value.copy_(thresholds(w, x, plain) if key == 'threshold' else w.get(key, randn(*value.shape) / 3))
        place = f'saelens/{architecture}'
        sae.save_model(str(folder(place)))
        through_saelens(place, 'saelens', architecture, 'sae_lens', x)
    # Version 5: TopK recognised by its activation function.
    x, w = randn(ROWS, D), parts()
    path = folder('saelens/version-5-topk')
    save_file(w | dict(scaling_factor=torch.ones(F)), path / 'sae_weights.safetensors')
    (path / 'cfg.json').write_text(json.dumps(dict(
        d_in=D, d_sae=F, dtype='float32', device='cpu', model_name='m', hook_point='blocks.1.hook_resid_pre',
        hook_point_head_index=None, activation_fn_str='topk', activation_fn_kwargs=dict(k=3), normalize_activations=False,
        context_size=64, prepend_bos=False, finetuning_scaling_factor=False)))
    through_saelens('saelens/version-5-topk', 'saelens', 'version-5-topk', 'sae_lens', x)


# ---- dictionary_learning ----

def dictionary_learning():
    from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK
    made = dict(AutoEncoder=AutoEncoder(D, F), AutoEncoderNew=AutoEncoderNew(D, F), GatedAutoEncoder=GatedAutoEncoder(D, F),
                JumpReluAutoEncoder=JumpReluAutoEncoder(D, F), AutoEncoderTopK=AutoEncoderTopK(D, F, 3),
                BatchTopKSAE=BatchTopKSAE(D, F, 3), MatryoshkaBatchTopKSAE=MatryoshkaBatchTopKSAE(D, F, 3, [4, 7]))
    for name, sae in made.items():
        x = randn(ROWS, D)
        with torch.no_grad():
            for key, value in [*sae.named_parameters(), *sae.named_buffers()]:
                if key == 'threshold':
                    value.copy_(torch.tensor(0.25) if value.ndim == 0 else randn(F).abs() / 2)
                elif value.is_floating_point():
                    value.copy_(randn(*value.shape) / 3)
            if name == 'JumpReluAutoEncoder':
                w = dict(W_enc=sae.W_enc, b_enc=sae.b_enc, b_dec=sae.b_dec)
                sae.threshold.copy_(thresholds(w, x))
        place = f'dictionary_learning/{name}'
        path = folder(place)
        torch.save(sae.state_dict(), path / 'ae.pt')
        k = dict(k=3) if 'TopK' in name else {}
        (path / 'config.json').write_text(json.dumps(dict(
            trainer=dict(dict_class=name, activation_dim=D, dict_size=F, layer=4, lm_name='google/gemma-2-2b',
                         submodule_name='resid_post_layer_4', **k),
            buffer=dict(d_submodule=D, io='out', ctx_len=128))))
        if name == 'AutoEncoder':
            # Its loader would otherwise rescale features to unit rows.
            sae = AutoEncoder.from_pretrained(path / 'ae.pt', normalize_decoder=False)
        elif 'TopK' in name:
            sae = type(sae).from_pretrained(path / 'ae.pt', k=3)
        else:
            sae = type(sae).from_pretrained(path / 'ae.pt')
        with torch.no_grad():
            f = sae.encode(x)
            keep(place, x, f, sae.decode(f))


# ---- sparsify ----

def sparsify():
    from sparsify import SparseCoder, SparseCoderConfig
    cases = {'layers.10': dict(), 'layers.5.mlp': dict(transcode=True, skip_connection=True),
             'h.3': dict(num_latents=13, expansion_factor=32, normalize_decoder=False)}
    root = folder('sparsify')
    (root / 'config.json').write_text(json.dumps(dict(model='EleutherAI/pythia-70m', ctx_len=2048)))
    for name, more in cases.items():
        sae = SparseCoder(D, SparseCoderConfig(**(dict(expansion_factor=2, k=3) | more)))
        with torch.no_grad():
            for value in sae.parameters():
                value.copy_(randn(*value.shape) / 3)
        sae.save_to_disk(root / name)
        sae = SparseCoder.load_from_disk(root / name)
        x = randn(ROWS, D)
        with torch.no_grad():
            top = sae.encode(x)
            f = torch.zeros(ROWS, sae.num_latents).scatter_(-1, top.top_indices, top.top_acts)
            x_hat = torch.einsum('nk,nkd->nd', top.top_acts, sae.W_dec[top.top_indices]) + sae.b_dec
            if sae.W_skip is not None:
                x_hat = x_hat + x @ sae.W_skip.mT
        keep(f'sparsify/{name}', x, f, x_hat)


# ---- circuit-tracer ----

def circuit_tracer():
    from circuit_tracer.transcoder.activation_functions import JumpReLU
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, load_relu_transcoder
    root = folder('circuit_tracer')
    (root / 'config.yaml').write_text(
        'model_name: "m"\nmodel_kind: transcoder_set\nfeature_input_hook: "ln2.hook_normalized"\n'
        'feature_output_hook: "hook_mlp_out"\nscan: null\n')
    for layer, (jumps, skip) in enumerate([(False, False), (True, False), (True, True)]):
        x, w = randn(ROWS, D), parts()
        activation = JumpReLU(thresholds(w, x), 0.1) if jumps else torch.nn.functional.relu
        made = SingleLayerTranscoder(D, F, activation, layer, skip_connection=skip, device='cpu', dtype=torch.float32)
        with torch.no_grad():
            for key, value in w.items():
                getattr(made, key).copy_(value.T if key == 'W_enc' else value)
            if skip:
                made.W_skip.copy_(randn(D, D) / 2)
        path = root / f'layer_{layer}.safetensors'
        made.to_safetensors(str(path))
        loaded = load_relu_transcoder(str(path), layer, device=torch.device('cpu'), lazy_encoder=False, lazy_decoder=False)
        with torch.no_grad():
            keep(f'circuit_tracer/layer_{layer}', x, loaded.encode(x), loaded(x))


PARTS = {'saelens': saelens, 'gemma-scope': gemma_scope, 'gemma-scope-2': gemma_scope_2, 'llama-scope': llama_scope,
         'qwen-scope': qwen_scope, 'dictionary-learning': dictionary_learning, 'sparsify': sparsify,
         'circuit-tracer': circuit_tracer}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--only', choices=PARTS)
    only = parser.parse_args().only
    for name, make in PARTS.items():
        if name == only or (only is None and name != 'circuit-tracer'):
            make()


if __name__ == '__main__':
    main()
