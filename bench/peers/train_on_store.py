"""Train an SAE by a published trainer on an activation store of sae-pipe, and save it as SAELens does.

    python bench/peers/train_on_store.py --trainer saelens --architecture topk --sparsity 32 --store DIR --d-sae 1536 \
        --tokens 2000000 --batch 1024 --lr 1e-3 --warmup 100 --out DIR

`saelens` is SAETrainer.fit, `dictionary_learning` its trainers' `update`. Equal to a run of `sae-pipe train` with the
same flags are: the store, tokens, batch, learning rate and its warm-up, width, and the scale of activations, which are
multiplied by s = sqrt(d) / mean |x| here and have s folded into what is saved. Everything else, initial values, Adam's
moments and the losses, is each trainer's own default. Every epoch has another order of all rows.

--sparsity is what is between sparse and dense: k of those that keep the k largest, a penalty of the others.
"""
import argparse
import json
import os
import sys
import time

import numpy as np
import torch


def rows_of_store(store):
    """-> float32 [rows, d] and the manifest"""
    import pyarrow as pa
    with open(os.path.join(store, 'manifest.json'), encoding='utf8') as f:
        manifest = json.load(f)
    assert manifest['complete'] and manifest['dtype'] == 'float16', 'a finished store of float16 is needed'
    rows = []
    for shard in manifest['shards']:
        with pa.memory_map(os.path.join(store, shard['file'])) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                rows.append(reader.get_batch(i)['activation'].flatten().to_numpy(zero_copy_only=False))
    return np.concatenate(rows).astype(np.float32).reshape(-1, manifest['d_in']), manifest


def batches(rows, batch, seed):
    """Endless: rows in a new order each epoch; what is left at its end that fills no batch is dropped"""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(rows))
        for i in range(0, len(rows) - batch + 1, batch):
            yield torch.from_numpy(rows[order[i:i + batch]])


def saelens(args, d, data):
    """-> parameters for inference, by name"""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    from peer_saelens import own_settings, training_sae
    own = own_settings(args.architecture, args.d_sae, args.sparsity, args.sparsity)
    if 'k' in own:
        own['k'] = int(own['k'])
    sae = training_sae(args.architecture, d, args.d_sae, own, apply_b_dec_to_input=True, normalize_activations='none')
    beta1 = {} if args.beta1 is None else dict(adam_beta1=args.beta1)
    SAETrainer(SAETrainerConfig(
        total_training_samples=args.tokens, train_batch_size_samples=args.batch, lr=args.lr, lr_end=args.lr,
        lr_warm_up_steps=args.warmup, device='cpu', logger=LoggingConfig(log_to_wandb=False), **beta1),
        sae, data_provider=data).fit()
    state = sae.state_dict()
    sae.process_state_dict_for_saving_inference(state)
    return {name: value.detach().float().clone().contiguous() for name, value in state.items()}


def dictionary_learning(args, d, data):
    """-> parameters for inference, by name"""
    from peer_dictionary_learning import tensors_of, trainer_of
    steps = args.tokens // args.batch
    k = int(args.sparsity) if args.architecture in ('topk', 'batchtopk', 'matryoshka') else args.sparsity
    # The threshold's average begins after 1000 steps, when a short run is over: here after half of them.
    late = dict(threshold_start_step=steps // 2) if isinstance(k, int) else {}
    trainer = trainer_of(args.architecture, d, args.d_sae, k, args.sparsity, steps=steps + 1, lr=args.lr,
                         warmup_steps=args.warmup, **late)
    for step in range(steps):
        trainer.update(step, next(data))
    state = {name: value.detach().float().clone().contiguous()
             for name, value in tensors_of(args.architecture, trainer.ae).items()}
    if args.architecture in ('batchtopk', 'matryoshka'):
        state['threshold'] = torch.full_like(state['b_enc'], float(trainer.ae.threshold))
    return state


def save(args, state, scale, manifest):
    from safetensors.torch import save_file
    for name in state:
        if name.startswith('b_') or name == 'threshold':
            state[name] /= scale  # f and x-hat are homogeneous in x and these
    batch_wise = args.architecture in ('batchtopk', 'matryoshka')
    cfg = dict(
        architecture='jumprelu' if batch_wise else args.architecture, d_in=manifest['d_in'], d_sae=args.d_sae,
        dtype='float32', device='cpu', apply_b_dec_to_input=True, normalize_activations='none',
        reshape_activations='none',
        metadata=dict(hook_name=manifest['hook'], model_name=manifest['model']['name'], prepend_bos=True,
                      context_size=manifest['context'], trained_by=args.trainer))
    if args.architecture == 'topk':
        cfg.update(k=int(args.sparsity), rescale_acts_by_decoder_norm=False)
    os.makedirs(args.out)
    save_file(state, os.path.join(args.out, 'sae_weights.safetensors'))
    with open(os.path.join(args.out, 'cfg.json'), 'w', encoding='utf8') as f:
        json.dump(cfg, f, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--trainer', choices=('saelens', 'dictionary_learning'), required=True)
    parser.add_argument('--architecture', required=True)
    for name in ('--store', '--out'):
        parser.add_argument(name, required=True)
    for name in ('--d-sae', '--tokens', '--batch', '--warmup'):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument('--sparsity', type=float, required=True)
    parser.add_argument('--lr', type=float, required=True)
    parser.add_argument('--beta1', type=float, help='of SAELens, instead of its default')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rows, manifest = rows_of_store(args.store)
    scale = float(np.sqrt(rows.shape[1]) / np.linalg.norm(rows, axis=1).mean())
    rows *= scale
    began = time.perf_counter()
    state = dict(saelens=saelens, dictionary_learning=dictionary_learning)[args.trainer](
        args, rows.shape[1], batches(rows, args.batch, args.seed))
    print(f'{args.trainer} {args.architecture}: {time.perf_counter() - began:.0f} s', file=sys.stderr)
    save(args, state, scale, manifest)


if __name__ == '__main__':
    main()
