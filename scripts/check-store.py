"""Check an activation store, or a stream of one, with pyarrow alone, so that its format is what another program reads.

    pip install pyarrow numpy      # tried with pyarrow 26.0 on Python 3.11
    python scripts/check-store.py STORE_DIR
    sae-pipe harvest ... --out - | python scripts/check-store.py -

Checks manifest.json (format, version, complete), for every listed file its sha256 (where listed), rows,
columns and types, and over the whole store: rows in total, (context, pos) unique, every `token` that of
its context's `tokens` at `pos`, no BOS row, finite activations, mean |x| against manifest.mean_norm.
Of a stream: its header (format, version), columns and types, rows in total and in a record batch,
(context, pos) unique, no BOS row, finite activations.
Prints a summary; exit status 1 if anything is wrong.
"""
import argparse
import hashlib
import json
import os
import sys

import numpy as np
import pyarrow as pa

FLOATS = {'float16': pa.float16(), 'float32': pa.float32(), 'bfloat16': pa.uint16()}  # Arrow has no bfloat16

errors = []


def check(ok, message):
    if not ok:
        errors.append(message)
        print('FAIL', message)
    return ok


def sha256(path):
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def batches(store, entry, schema, row_type):
    """Yield the record batches of one listed file, checked against its manifest entry. `schema`: types by column."""
    path = os.path.join(store, entry['file'])
    if not check(os.path.exists(path), f'{entry["file"]}: missing'):
        return
    check(entry.get('sha256') in (None, sha256(path)), f'{entry["file"]}: sha256 differs')
    rows = 0
    with pa.memory_map(path) as source, pa.ipc.open_file(source) as reader:
        for name, kind in schema.items():
            have = reader.schema.field(name).type if name in reader.schema.names else None
            if not check(same_type(have, kind), f'{entry["file"]}: column {name} is {have}, expected {kind}'):
                return
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            rows += len(batch)
            for name in schema:
                check(batch[name].null_count == 0, f'{entry["file"]}: nulls in {name}')
            yield batch
    expected = entry.get(row_type)
    check(expected in (None, rows), f'{entry["file"]}: {rows} {row_type}, manifest says {expected}')


def same_type(have, kind):
    """Equal types, whatever the list's child field is called and whether it is nullable."""
    if have is None or not pa.types.is_list(kind) and not pa.types.is_fixed_size_list(kind):
        return have == kind
    return have.id == kind.id and have.value_type == kind.value_type and (
        not pa.types.is_fixed_size_list(kind) or have.list_size == kind.list_size)


def activations(column, dtype, d_in):
    """-> float32 [rows, d_in] of one batch's FixedSizeList column"""
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, d_in)
    if dtype == 'bfloat16':  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def check_store(store):
    with open(os.path.join(store, 'manifest.json'), encoding='utf8') as f:
        manifest = json.load(f)
    check(manifest['format'] == 'sae-pipe-activations' and manifest['version'] == 1, 'not a version 1 activation store')
    check(manifest['complete'] is True, 'the store is not complete')
    d_in, dtype = manifest['d_in'], manifest['dtype']
    if not check(dtype in FLOATS, f'dtype {dtype} is none of {", ".join(FLOATS)}'):
        return

    tokens, documents = {}, set()  # context -> its tokens
    schema = dict(context=pa.uint32(), tokens=pa.list_(pa.int32()), documents=pa.list_(pa.uint32()))
    for entry in manifest['contexts']:
        for batch in batches(store, entry, schema, 'contexts'):
            for c, t, d in zip(batch['context'].to_numpy(), batch['tokens'], batch['documents']):
                t, d = t.values.to_numpy(), d.values.to_numpy()
                check(c not in tokens, f'context {c} is listed twice')
                check(len(t) == len(d), f'context {c}: {len(t)} tokens but {len(d)} documents')
                tokens[c] = t
                documents.update(d.tolist())

    # the tokens of all contexts end to end, context c's from start[c] on
    start = np.zeros(max(tokens, default=-1) + 2, dtype=np.int64)
    length = np.zeros_like(start)
    for c, t in tokens.items():
        length[c] = len(t)
    start[1:] = np.cumsum(length)[:-1]
    stream = np.concatenate([tokens[c] for c in sorted(tokens)]) if tokens else np.empty(0, np.int32)

    rows, norm_sum, seen = 0, 0., np.zeros(len(stream), dtype=bool)
    schema = dict(activation=pa.list_(FLOATS[dtype], d_in), token=pa.int32(), context=pa.uint32(), pos=pa.uint32())
    for entry in manifest['shards']:
        for batch in batches(store, entry, schema, 'rows'):
            x = activations(batch['activation'], dtype, d_in)
            check(np.isfinite(x).all(), f'{entry["file"]}: NaN or infinite activations')
            norm_sum += np.linalg.norm(x.astype(np.float64), axis=1).sum()
            rows += len(batch)

            token, context, pos = (batch[name].to_numpy() for name in ('token', 'context', 'pos'))
            check((token != manifest['bos_token_id']).all(), f'{entry["file"]}: rows of BOS')
            context = np.minimum(context, len(start) - 1)  # the last one has length 0
            known = pos < length[context]
            check(known.all(), f'{entry["file"]}: rows with a (context, pos) outside the contexts')
            at = (start[context] + pos)[known]
            check((stream[at] == token[known]).all(), f'{entry["file"]}: tokens differ from those of the contexts')
            check(len(np.unique(at)) == len(at) and not seen[at].any(), f'{entry["file"]}: a (context, pos) comes twice')
            seen[at] = True

    check(rows == manifest['rows'], f'{rows} rows, manifest says {manifest["rows"]}')
    mean_norm, expected = norm_sum / max(rows, 1), manifest['mean_norm']
    check(abs(mean_norm - expected) <= 1e-3 * expected, f'mean |x| {mean_norm:.6g}, manifest says {expected:.6g}')

    print(f'{manifest["hook"]}: {rows} rows of {d_in} {dtype} in {len(manifest["shards"])} shards; '
          f'{len(tokens)} contexts of {len(documents)} documents; {(~seen).sum()} context tokens without a row; '
          f'mean |x| {mean_norm:.6g}')


def check_stream(source):
    with pa.ipc.open_stream(source) as reader:
        header = json.loads(reader.schema.metadata[b'sae-pipe'])
        named = (header['format'], header['version'])
        check(named == ('sae-pipe-activation-stream', 1), 'not a version 1 stream of activations')
        d_in, dtype = header['d_in'], header['dtype']
        schema = dict(activation=pa.list_(FLOATS[dtype], d_in), token=pa.int32(), context=pa.uint32(), pos=pa.uint32())
        for name, kind in schema.items():
            have = reader.schema.field(name).type if name in reader.schema.names else None
            if not check(same_type(have, kind), f'column {name} is {have}, expected {kind}'):
                return
        rows, seen, norm_sum = 0, set(), 0.
        for batch in reader:
            x = activations(batch['activation'], dtype, d_in)
            check(np.isfinite(x).all(), 'NaN or infinite activations')
            check(len(batch) <= header['rows_per_batch'], f'a record batch of {len(batch)} rows')
            check((batch['token'].to_numpy() != header['bos_token_id']).all(), 'rows of BOS')
            norm_sum += np.linalg.norm(x.astype(np.float64), axis=1).sum()
            seen.update(zip(batch['context'].to_numpy().tolist(), batch['pos'].to_numpy().tolist()))
            rows += len(batch)
    check(rows == header['rows'], f'{rows} rows, the header says {header["rows"]}')
    check(len(seen) == rows, 'a (context, pos) comes twice')
    print(f'{header["hook"]}: {rows} rows of {d_in} {dtype}; mean |x| {norm_sum / max(rows, 1):.6g}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('store', metavar='STORE_DIR', help='or - for a stream on standard input')
    store = parser.parse_args().store
    try:
        check_stream(sys.stdin.buffer) if store == '-' else check_store(store)
    except (OSError, KeyError, ValueError, pa.ArrowInvalid) as e:  # unreadable files, missing manifest keys
        check(False, f'{type(e).__name__}: {e}')
    print(f'{store}: {f"{len(errors)} failed" if errors else "ok"}')
    sys.exit(1 if errors else 0)


if __name__ == '__main__':
    main()
