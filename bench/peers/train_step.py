"""Time one training step of an SAE in one of the programs that `npm run bench:train` compares.

    python bench/peers/train_step.py --contender pytorch-eager --start FILE.safetensors \
        --warmup 5 --steps 20 --threads 2 --lr 3e-4 --l1 5
    python bench/peers/train_step.py --contender saelens --architecture batchtopk --k 64 …

FILE holds float32 tensors W_enc [d, n], W_dec [n, d] (rows of norm 1), b_gate, b_mag, r_mag [n], b_dec [d], and
batches [k, B, d]: step i takes batch i mod k. Other architectures than the gated one start from the same tensors as
start_parameters.py has it.

Standard output is one line of JSON:
    contender
    version    of the contender's package and of torch
    threads
    ms         [--steps] wall milliseconds of each timed step: batch from host memory, forward, backward, optimiser,
               normalisation of the decoder where the contender has one
    l0         features > 0 a token, mean over the last batch, with the parameters that the last step starts from
    loss       with the parameters of FILE, on the first batch: sums over d and n, mean over the batch
A contender that cannot run here (its package is missing, there is no C++ compiler) gives
    contender, error
and exit status 0 as well: that is a finding of the benchmark, not a failure of it. The traceback goes to stderr.

The allocator is the shell's. PyTorch allocates tensors of [B, n] again in every step, and where the C library maps and
unmaps such blocks, part of a step is page faults: GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in the environment shows how
much on a given machine.
"""
import argparse
import contextlib
import importlib
import json
import os
import sys
import time
import traceback
import warnings

ARCHITECTURES = ('gated', 'standard', 'topk', 'batchtopk', 'jumprelu', 'matryoshka')
# Each is module:class; a class is made with (start, lr, l1, n_steps, batch_size), and with architecture and k where
# they are given, and has
#     version    text
#     step(x)    one complete step on x [B, d]; nothing else is timed
#     loss(x), l0(x)    floats, at the present parameters, or None where the contender has no such thing
# A contender's package is imported only when it is asked for: some of them change torch as they load.
CONTENDERS = {
    'pytorch-eager': 'peer_torch:Eager',
    'pytorch-compile': 'peer_torch:Compiled',
    'pytorch-topk': 'peer_topk:TopK',
    'dictionary_learning': 'peer_dictionary_learning:Published',
    'saelens': 'peer_saelens:Published',
    'sparsify': 'peer_sparsify:Published',
    'product': 'peer_torch:Product',
}


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError('must be at least 1')
    return value


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--contender', choices=CONTENDERS, required=True)
    parser.add_argument('--start', required=True, metavar='FILE', help='parameters and batches, safetensors')
    # at least one, since the first step allocates Adam's state and, for pytorch-compile, compiles
    parser.add_argument('--warmup', type=positive, required=True, help='steps before the timed ones')
    parser.add_argument('--steps', type=positive, required=True, help='timed steps')
    parser.add_argument('--threads', type=positive, required=True)
    parser.add_argument('--lr', type=float, required=True)
    parser.add_argument('--l1', type=float, required=True, help='lambda, for squared errors summed over d')
    parser.add_argument('--architecture', choices=ARCHITECTURES, help='of saelens, dictionary_learning and sparsify')
    parser.add_argument('--k', type=positive, help='features per token, where an architecture keeps the k largest')
    return parser.parse_args()


def load(path):
    """-> parameters by name, batches [k, B, d]"""
    from safetensors.torch import load_file
    # a copy, because load_file maps the file: the first touch of a page would be timed as part of a step
    start = {name: tensor.clone() for name, tensor in load_file(path).items()}
    return start, start.pop('batches')


def measure(peer, batches, warmup, steps):
    """-> ms, l0, loss, as in the file's docstring"""
    def batch(i):
        return batches[i % len(batches)]

    loss, ms = peer.loss(batch(0)), []
    for i in range(warmup):
        peer.step(batch(i))
    for i in range(warmup, warmup + steps):
        if i == warmup + steps - 1:
            l0 = peer.l0(batch(i))
        began = time.perf_counter_ns()
        peer.step(batch(i))
        ms.append((time.perf_counter_ns() - began) / 1e6)
    return dict(ms=ms, l0=l0, loss=loss)


def run(args):
    import torch
    torch.set_num_threads(args.threads)
    start, batches = load(args.start)
    module, name = CONTENDERS[args.contender].split(':')
    make = getattr(importlib.import_module(module), name)
    peer = make(start, lr=args.lr, l1=args.l1, n_steps=args.warmup + args.steps, batch_size=batches.shape[1],
                **{name: value for name, value in (('architecture', args.architecture), ('k', args.k))
                   if value is not None})
    # again, in case the contender's package set it on import
    torch.set_num_threads(args.threads)
    version = ' '.join(dict.fromkeys([peer.version, f'torch {torch.__version__}']))
    return dict(version=version, threads=torch.get_num_threads(), **measure(peer, batches, args.warmup, args.steps))


def main():
    args = parse_args()
    # OpenMP and oneMKL read these once, when torch loads them
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        os.environ[name] = str(args.threads)
    warnings.simplefilter('ignore')
    try:
        # packages greet on stdout, which is for the one line
        with contextlib.redirect_stdout(sys.stderr):
            result = run(args)
    except Exception as error:
        traceback.print_exc()
        # the first line: torch appends advice on debugging
        result = dict(error=f'{type(error).__name__}: {error}'.split('\n')[0])
    print(json.dumps(dict(contender=args.contender, **result)))


if __name__ == '__main__':
    main()
