"""SAELens's own training runner on a model directory of transformers; the peer of bench/end-to-end.ts.

    python bench/peers/end_to_end.py train|cache|train-cached --model DIR --corpus FILE.jsonl.gz --architecture topk \
        --sparsity 32 --layer 2 --d-in 192 --d-sae 1536 --tokens 1000000 --batch 1024 --context 256 --store DIR --out DIR

`train` is LanguageModelSAETrainingRunner from text, `cache` CacheActivationsRunner, which writes --tokens activations
to --store, and `train-cached` the first one on what that wrote, as often as --tokens ask for. Model and site are those
of transformers (the output of decoder layer --layer), through SAELens's class for such models. All that is not named
above is SAELens's default. cfg.json then gets our name of the site, so that `sae-pipe eval` can splice the SAE in.
"""
import argparse
import json
import os


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('mode', choices=('train', 'cache', 'train-cached'))
    for name in ('--model', '--corpus', '--architecture', '--store', '--out'):
        parser.add_argument(name)
    for name in ('--layer', '--d-in', '--d-sae', '--tokens', '--batch', '--context', '--threads'):
        parser.add_argument(name, type=int)
    parser.add_argument('--sparsity', type=float)
    args = parser.parse_args()

    import torch
    from datasets import load_dataset
    torch.set_num_threads(args.threads)
    dataset = load_dataset('json', data_files=args.corpus, split='train')
    hook = f'model.layers.{args.layer}'
    (cache if args.mode == 'cache' else train)(args, dataset, hook)


def cache(args, dataset, hook):
    from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig
    # It writes complete buffers, by default of 2 GB: here one of complete batches, with at most --tokens.
    prompts = 32
    tokens = args.tokens // (prompts * args.context) * prompts * args.context
    CacheActivationsRunner(CacheActivationsRunnerConfig(
        dataset_path='json', model_name=args.model, model_class_name='AutoModelForCausalLM', model_batch_size=prompts,
        hook_name=hook, d_in=args.d_in, training_tokens=tokens, context_size=args.context, streaming=False,
        device='cpu', buffer_size_gb=(tokens + 0.5) * args.d_in * 4 / 1e9, new_cached_activations_path=args.store),
        override_dataset=dataset).run()


def train(args, dataset, hook):
    from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner
    from sae_lens.config import LoggingConfig

    from peer_saelens import CLASSES, own_settings
    own = own_settings(args.architecture, args.d_sae, args.sparsity, args.sparsity)
    if 'k' in own:
        own['k'] = int(own['k'])
    sae = CLASSES[args.architecture][1](d_in=args.d_in, d_sae=args.d_sae, **own)
    cached = dict(use_cached_activations=True, cached_activations_path=args.store)
    LanguageModelSAETrainingRunner(LanguageModelSAERunnerConfig(
        sae=sae, model_name=args.model, model_class_name='AutoModelForCausalLM', hook_name=hook, dataset_path='json',
        is_dataset_tokenized=False, streaming=False, context_size=args.context, training_tokens=args.tokens,
        train_batch_size_tokens=args.batch, checkpoint_path=None, output_path=args.out,
        logger=LoggingConfig(log_to_wandb=False), **(cached if args.mode == 'train-cached' else {})),
        override_dataset=dataset).run()
    path = os.path.join(args.out, 'cfg.json')
    with open(path, encoding='utf8') as f:
        cfg = json.load(f)
    cfg['metadata']['hook_name'] = f'blocks.{args.layer}.hook_resid_post'
    with open(path, 'w', encoding='utf8') as f:
        json.dump(cfg, f)


if __name__ == '__main__':
    main()
