"""Read the event files of `--log-dir` with TensorBoard itself, and compare them with what they are made of.

    pip install tensorboard      # tried with tensorboard 2.21 on Python 3.11
    python scripts/check-tensorboard.py LOG_DIR [SAE_DIR]

Without SAE_DIR, prints the tags with their numbers of points. With it, every line of its metrics.jsonl must
be there once, step by step and value by value, and every histogram and text must be readable. Exit status 1
if anything is wrong.
"""
import json
import math
import os
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

errors = []


def check(ok, message):
    if not ok:
        errors.append(message)
        print('FAIL', message)


def main():
    log = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'histograms': 0, 'tensors': 0})
    log.Reload()
    tags = log.Tags()
    for tag in tags['scalars']:
        steps = [event.step for event in log.Scalars(tag)]
        check(len(set(steps)) == len(steps), f'{tag} has a step twice')
        check(all(math.isfinite(event.value) for event in log.Scalars(tag)), f'{tag} has a value that is not finite')
        print(f'{tag}: {len(steps)} points, steps {steps[0]} to {steps[-1]}')
    for tag in tags['histograms']:
        for event in log.Histograms(tag):
            h = event.histogram_value
            check(len(h.bucket) == len(h.bucket_limit) and sum(h.bucket) == h.num, f'{tag} at {event.step} does not add up')
        print(f'{tag}: {len(log.Histograms(tag))} histograms')
    for tag in tags['tensors']:
        for event in log.Tensors(tag):
            check(event.tensor_proto.string_val[0].decode().startswith('|'), f'{tag} is not a table')
        print(f'{tag}: {len(log.Tensors(tag))} texts')
    if len(sys.argv) > 2:
        compare(log, os.path.join(sys.argv[2], 'metrics.jsonl'))
    sys.exit(1 if errors else 0)


def compare(log, path):
    curve = [json.loads(line) for line in open(path)]
    for key in sorted({key for line in curve for key in line} - {'step'}):
        wanted = [(line['step'], line[key]) for line in curve if line.get(key) is not None]
        found = [(event.step, event.value) for event in log.Scalars(f'train/{key}')] if wanted else []
        check([step for step, _ in found] == [step for step, _ in wanted], f'train/{key} has other steps than {path}')
        close = all(abs(a - b) <= 1e-6 * max(1.0, abs(b)) for (_, a), (_, b) in zip(found, wanted))
        check(close, f'train/{key} has other values than {path}')
    print(f'{len(curve)} lines of {path} compared')


main()
