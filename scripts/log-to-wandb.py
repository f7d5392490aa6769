"""Turn the event files of `--log-dir` into runs of W&B, without a network.

    pip install wandb tensorboard      # tried with wandb 0.31.0 and tensorboard 2.21 on Python 3.11
    python scripts/log-to-wandb.py LOG_DIR [PROJECT]

Every directory with event files becomes an offline run in ./wandb, with its scalars at their steps. Where there is a network
and a login, `wandb sync wandb/offline-run-*` uploads them. Only wandb's documented calls are used: init, log and finish.
"""
import os
import sys

import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

root, project = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else 'sae-pipe'
for directory, _, files in sorted(os.walk(root)):
    if not any('.tfevents.' in name for name in files):
        continue
    log = EventAccumulator(directory, size_guidance={'scalars': 0})
    log.Reload()
    points = {}
    for tag in log.Tags()['scalars']:
        for event in log.Scalars(tag):
            points.setdefault(event.step, {})[tag] = event.value
    name = os.path.relpath(directory, os.path.dirname(os.path.abspath(root)))
    with wandb.init(mode='offline', project=project, name=name, reinit='finish_previous') as run:
        for step in sorted(points):
            run.log(points[step], step=step)
    print(f'{directory}: {len(points)} steps, {len({tag for values in points.values() for tag in values})} tags')
