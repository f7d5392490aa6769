"""Time one training step of a Gated SAE on an NVIDIA GPU, in one of the programs that `npm run bench:gpu` compares.

    python bench/peers/gpu_step.py --contender pytorch-eager --precision tf32 --start FILE.safetensors \
        --warmup 3 --steps 10 --rounds 5

FILE is what train_step.py reads, and the contenders are its own (peer_torch.py, peer_saelens.py), moved to the GPU.
tf32 lets PyTorch multiply float32 matrices in TF32; bfloat16 puts the loss under autocast, parameters and Adam staying
float32. A batch lies in page-locked memory and crosses to the GPU within the step, as ours does.

Standard output is one line of JSON:
    version, ms    mean milliseconds a step of each round: steps are asked for one after another, and the GPU is
                   waited for at the end of the round only, so that PyTorch may run ahead
    l0, loss       with the parameters of FILE, on the first batch
or error, where a contender cannot run here.
"""
import argparse
import contextlib
import json
import sys
import time
import traceback
import warnings

CONTENDERS = ('pytorch-eager', 'pytorch-compile', 'saelens', 'product')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--contender', choices=CONTENDERS, required=True)
    parser.add_argument('--precision', choices=('float32', 'tf32', 'bfloat16'), required=True)
    parser.add_argument('--start', required=True, metavar='FILE')
    for name in ('--warmup', '--steps', '--rounds'):
        parser.add_argument(name, type=int, required=True)
    return parser.parse_args()


def make(args, start, batch_size):
    """-> the contender, made with settings that train_step.py gives, its forward pass in the given precision"""
    import torch
    settings = dict(lr=1e-5, l1=1.0, n_steps=1 + args.warmup + args.steps * args.rounds, batch_size=batch_size)
    half = args.precision == 'bfloat16'
    if args.contender == 'saelens':
        from peer_saelens import Published
        return Published(start, **settings)
    import peer_torch
    if args.contender == 'product':
        if half:
            start = {name: tensor.bfloat16() for name, tensor in start.items()}
        return peer_torch.Product(start, **settings)
    kind = peer_torch.Eager if args.contender == 'pytorch-eager' else peer_torch.Compiled
    peer = kind(start, **settings)
    if half:
        plain = peer.forward

        def forward(x):
            with torch.autocast('cuda', dtype=torch.bfloat16):
                return plain(x)
        peer.forward = forward
    return peer


def run(args):
    import torch
    from train_step import load
    torch.backends.cuda.matmul.allow_tf32 = args.precision != 'float32'
    start, batches = load(args.start)
    pinned = batches.pin_memory()
    start = {name: tensor.cuda() for name, tensor in start.items()}
    peer = make(args, start, batches.shape[1])
    half = args.contender == 'product' and args.precision == 'bfloat16'

    def batch(i):
        x = pinned[i % len(pinned)].cuda(non_blocking=True)
        return x.bfloat16() if half else x

    loss, l0, done = peer.loss(batch(0)), peer.l0(batch(0)), 0

    def steps(count):
        nonlocal done
        for _ in range(count):
            peer.step(batch(done))
            done += 1
        torch.cuda.synchronize()

    # at least one, since the first step allocates Adam's state and, for pytorch-compile, compiles
    steps(1 + args.warmup)
    ms = []
    for _ in range(args.rounds):
        began = time.perf_counter_ns()
        steps(args.steps)
        ms.append((time.perf_counter_ns() - began) / 1e6 / args.steps)
    version = ' '.join(dict.fromkeys([peer.version, f'torch {torch.__version__}']))
    return dict(version=f'{version} (CUDA {torch.version.cuda})', ms=ms, l0=l0, loss=loss)


def main():
    args = parse_args()
    warnings.simplefilter('ignore')
    try:
        # packages greet on stdout, which is for the one line
        with contextlib.redirect_stdout(sys.stderr):
            result = run(args)
    except Exception as error:
        traceback.print_exc()
        result = dict(error=f'{type(error).__name__}: {error}'.split('\n')[0])
    print(json.dumps(result))


if __name__ == '__main__':
    main()
