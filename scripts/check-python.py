"""Run the Python blocks of docs/reference/formats.md and docs/how-to/streams.md on a store and SAEs made for them, and check what they read.

    npm run build
    pip install numpy pyarrow polars pandas datasets duckdb torch sae-lens      # tried with Python 3.11
    python scripts/check-python.py

Harvests and trains with the bundled model in a temporary directory, under the paths that the pages name. A block whose
package is not installed is skipped by name. Exit status 1 if a block fails, reads something else than pyarrow does, or
has no check here.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BLOCK = re.compile(r'^\*\*([^*\n]+)\*\*[^\n]*\n\n```python\n(.*?)^```', re.M | re.S)
HOOKS = ['blocks.2.hook_resid_post', 'blocks.1.attn.hook_z']
ROWS, D_SAE = 4000, 256

TEXT = [
    '--model', f'{ROOT}/assets/tiny-gemma', '--corpus', f'{ROOT}/assets/corpus/validation.jsonl.gz', '--context', '64',
    '--batch', '8', '--rows-per-shard', '1000', '--window-rows', '2000', '--tokens', str(ROWS),
]


def command(*words):
    return ['node', f'{ROOT}/bin/sae-pipe.js', *words]


def harvest(out, hooks, *more):
    return command('harvest', *TEXT, *(word for hook in hooks for word in ('--hook', hook)), *more, '--out', out)


def make_files():
    run = lambda words: subprocess.run(words, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    run(harvest('runs/acts', HOOKS))
    run(harvest('runs/bfloat16', HOOKS[:1], '--dtype', 'bfloat16'))
    size = ['--d-sae', str(D_SAE), '--batch', '128', '--steps', '60', '--lr', '1e-3']
    for hook, out in zip(HOOKS, ('runs/gated', 'runs/gated-z')):
        run(command('train', '--activations', f'runs/acts/{hook}', *size, '--out', out))


def is_pyarrow(n):
    by_position = {(r['context'], r['pos']) for r in n['rows'].select(['context', 'pos']).to_pylist()}
    return n['x'].shape == (ROWS, n['manifest']['d_in']) and len(by_position) == ROWS


def is_bfloat16(n):
    import numpy as np
    x = n['x'].astype(np.float32)
    return np.abs(n['x32'] - x).max() < 2**-7 * np.abs(x).max() and not np.array_equal(n['x32'], x)


def is_datasets(n):
    import numpy as np
    columns = n['dataset'].with_format('numpy')
    first = np.array(n['example']['activation'], dtype=np.float16)
    return np.array_equal(columns['activation'][:], n['x']) and np.array_equal(first, n['x'][0]) \
        and np.array_equal(n['tensors'].numpy(), n['x'][:4].astype(np.float32))


def is_polars(n):
    import numpy as np
    fifth = (n['rows']['pos'].to_numpy() == 5).sum()
    return np.array_equal(n['activations'], n['x']) and len(n['fifth']) == fifth


def is_pandas(n):
    import numpy as np
    return np.array_equal(n['stacked'], n['x']) and list(n['df']['token']) == n['rows']['token'].to_pylist()


def is_by_head(n):
    flat, by_head = n['features_flat'], n['features_by_head']
    return flat.shape == (ROWS, D_SAE) and flat.equal(by_head) and bool((flat > 0).any())


CHECKS = {
    'pyarrow': is_pyarrow,
    'bfloat16': is_bfloat16,
    'contexts': lambda n: n['before'][-1] == n['row']['token'] and n['before'][0] == n['manifest']['bos_token_id'],
    'polars': is_polars,
    'pandas': is_pandas,
    'Hugging Face datasets': is_datasets,
    'DuckDB': lambda n: n['common'][0][1] == max(count for _, count in n['common']) and len(n['means']) > 10,
    'SAELens': lambda n: n['features'].shape == (ROWS, D_SAE) and n['reconstruction'].shape == n['x'].shape,
    'SAELens, attn.hook_z': is_by_head,
}


def blocks_of(page):
    with open(os.path.join(ROOT, 'docs', page), encoding='utf8') as f:
        return BLOCK.findall(f.read())


def run_block(name, code, names):
    """-> what went wrong, or None"""
    try:
        exec(compile(code, f'docs/reference/formats.md ({name})', 'exec'), names)
        return None if CHECKS[name](names) else 'it reads something else than pyarrow'
    except Exception:
        return traceback.format_exc(limit=-1).strip()


def run_stream(code):
    """The block of docs/how-to/streams.md at the end of a pipe. -> what went wrong, or None"""
    with subprocess.Popen(harvest('-', HOOKS[:1]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
        script = f'{code}\nprint(json.dumps([rows, header["rows"], header["hook"]]))'
        reader = subprocess.run([sys.executable, '-c', script], stdin=writer.stdout, capture_output=True, text=True)
    if reader.returncode != 0:
        return reader.stderr.strip()
    return None if json.loads(reader.stdout) == [ROWS, ROWS, HOOKS[0]] else f'it read {reader.stdout}'


def main():
    blocks, stream = blocks_of('reference/formats.md'), blocks_of('how-to/streams.md')
    failed = [f'{name}: no such block in docs/reference/formats.md' for name in CHECKS if name not in dict(blocks)]
    failed += [f'{name}: a block without a check' for name, _ in blocks if name not in CHECKS]
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        os.environ.setdefault('HF_HOME', f'{directory}/cache')
        make_files()
        names = {}
        for name, code in blocks:
            missing = [m for m in re.findall(r'^(?:import|from) (\w+)', code, re.M) if not installed(m)]
            if missing:
                print(f'{name}: skipped, {", ".join(missing)} is not installed')
                continue
            wrong = run_block(name, code, names) if name in CHECKS else 'not run'
            print(f'{name}: {wrong or "ok"}')
            failed += [name] if wrong else []
        for name, code in stream:
            wrong = run_stream(code)
            print(f'{name}, stream: {wrong or "ok"}')
            failed += [name] if wrong else []
        os.chdir(ROOT)
    print('\n'.join(['FAILED', *failed]) if failed else 'all ok')
    sys.exit(1 if failed else 0)


def installed(module):
    from importlib.util import find_spec
    return find_spec(module) is not None


if __name__ == '__main__':
    main()
