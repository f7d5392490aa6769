"""Train the tiny Gemma of assets/tiny-gemma (GemmaForCausalLM, Gemma-1 architecture, 3.3 M parameters)
on public-domain English: US State of the Union addresses and Moby-Dick.

This is the script that produced assets/tiny-gemma; nothing else in the repo needs it.

    pip install torch==2.13.0 transformers==5.18.0 safetensors      # on Python 3.11, CPU
    python scripts/train-tiny-gemma.py TEXT_DIR OUT_DIR MINUTES

TEXT_DIR holds one .txt a document (assets/corpus has the same documents as .jsonl.gz); sorted by name,
every 16th (index 7 mod 16) is held out. MINUTES of wall time set the length of the learning-rate
schedule, so another run gives other weights; the bundled ones took 78 minutes on 2 cores.
"""
import argparse
import glob
import json
import math
import os
import random
import time

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GemmaConfig, GemmaForCausalLM

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('src', metavar='TEXT_DIR')
parser.add_argument('out', metavar='OUT_DIR')
parser.add_argument('minutes', metavar='MINUTES', type=float)
args = parser.parse_args()
src, out, minutes = args.src, args.out, args.minutes

os.makedirs(out, exist_ok=True)
torch.manual_seed(0)
random.seed(0)

files = sorted(glob.glob(src + '/*.txt'))
val = [f for i, f in enumerate(files) if i % 16 == 7]
train = [f for f in files if f not in val]


def read(f):
    return ' '.join(open(f, encoding='utf8').read().split())


# ---- the tokenizer: byte-fallback BPE in Gemma's own layout ----

V = 4096
tok = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token='<unk>'))
tok.normalizer = normalizers.Replace(' ', '▁')
tok.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()])
special = ['<pad>', '<eos>', '<bos>', '<unk>'] + ['<0x%02X>' % i for i in range(256)]
# train word-wise: split before every ▁ so that merges don't cross words, as in Gemma's vocabulary
tok.pre_tokenizer = pre_tokenizers.Split(Regex('▁?[^▁]+'), 'isolated')
tok.train_from_iterator(
    (read(f) for f in train),
    trainers.BpeTrainer(vocab_size=V, special_tokens=special, limit_alphabet=200, show_progress=False))
tok.post_processor = processors.TemplateProcessing(
    single='<bos> $A', pair='<bos> $A <bos> $B', special_tokens=[('<bos>', tok.token_to_id('<bos>'))])
tok.save(out + '/tokenizer.json')
# the byte tokens must be ordinary vocabulary, not special: keep only the 4 real specials in added_tokens
j = json.load(open(out + '/tokenizer.json'))
j['added_tokens'] = [t for t in j['added_tokens'] if not t['content'].startswith('<0x')]
json.dump(j, open(out + '/tokenizer.json', 'w'), ensure_ascii=False)
tok = Tokenizer.from_file(out + '/tokenizer.json')
json.dump({
    'add_bos_token': True, 'add_eos_token': False,
    'bos_token': '<bos>', 'eos_token': '<eos>', 'pad_token': '<pad>', 'unk_token': '<unk>',
    'clean_up_tokenization_spaces': False, 'model_max_length': 256, 'tokenizer_class': 'GemmaTokenizer',
}, open(out + '/tokenizer_config.json', 'w'), indent=1)

# ---- contexts ----

T = 256


def encode(fs):
    return [tok.encode(read(f)).ids for f in fs]


def pack(docs):
    """Contexts of T tokens, each beginning with <bos>, none crossing a document's end."""
    rows = []
    for d in docs:
        body = d[1:]
        for i in range(0, len(body), T - 1):
            c = body[i:i + T - 1]
            if len(c) == T - 1:
                rows.append([2] + c)
    return torch.tensor(rows)


tr, va = pack(encode(train)), pack(encode(val))
print('vocab', tok.get_vocab_size(), 'train', tr.shape, 'val', va.shape,
      'chars/token', sum(len(read(f)) for f in val) / sum(len(x) for x in encode(val)), flush=True)

# ---- the model ----

cfg = GemmaConfig(
    vocab_size=tok.get_vocab_size(), hidden_size=192, intermediate_size=768, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=4, head_dim=64,
    hidden_act='gelu_pytorch_tanh', hidden_activation='gelu_pytorch_tanh',
    max_position_embeddings=512, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=True,
    bos_token_id=2, eos_token_id=1, pad_token_id=0)
m = GemmaForCausalLM(cfg)
print('params', sum(p.numel() for p in m.parameters()), flush=True)
decay = [p for p in m.parameters() if p.dim() > 1]
no_decay = [p for p in m.parameters() if p.dim() < 2]
opt = torch.optim.AdamW(
    [{'params': decay, 'weight_decay': .1}, {'params': no_decay, 'weight_decay': 0}], lr=3e-3, betas=(.9, .95))


def evaluate():
    m.eval()
    s = 0
    with torch.no_grad():
        for i in range(0, min(len(va), 192), 24):
            x = va[i:i + 24]
            s += m(input_ids=x, labels=x).loss.item()
    m.train()
    return s / math.ceil(min(len(va), 192) / 24)


def save():
    mm = GemmaForCausalLM(cfg)
    mm.load_state_dict(m.state_dict())
    mm.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)


# ---- training ----

B = 24
t0 = time.time()
step = 0
best = 9e9
perm = torch.randperm(len(tr))
k = 0
while True:
    elapsed = (time.time() - t0) / (minutes * 60)
    if elapsed >= 1:
        break
    lr = 3e-3 * min(1, (step + 1) / 60) * (0.5 * (1 + math.cos(math.pi * elapsed)) * .97 + .03)
    for g in opt.param_groups:
        g['lr'] = lr
    if k + B > len(perm):
        perm = torch.randperm(len(tr))
        k = 0
    x = tr[perm[k:k + B]]
    k += B
    loss = m(input_ids=x, labels=x).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(m.parameters(), 1.)
    opt.step()
    opt.zero_grad(set_to_none=True)
    step += 1
    if step % 20 == 0:
        print(step, f'{elapsed:.3f}', 'epoch %.2f' % (step * B / len(tr)), 'loss %.3f' % loss.item(),
              f'{(time.time() - t0) / step:.2f}s/step', flush=True)
    if step % 400 == 0:
        v = evaluate()
        print('VAL', step, v, flush=True)
        if v < best:
            best = v
            save()
v = evaluate()
print('FINAL VAL', v, flush=True)
if v < best:
    save()
json.dump({'val_files': [os.path.basename(f) for f in val], 'val_loss_f32': v, 'steps': step},
          open(out + '/training.json', 'w'), indent=1)
