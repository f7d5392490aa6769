"""Serve data sets that pyarrow wrote as the hub does, stream them through `--corpus hf:…`, and compare document by document.

    pip install pyarrow datasets zstandard      # tried with pyarrow 26, datasets 5 on Python 3.11
    npm run build && python scripts/check-hub-corpus.py [--latency 0.03] [--documents 2000]

Writes one Parquet file per codec, page version, encoding and string type, each with nested, null and wide
columns next to the text, and JSON Lines plain, gzipped and with Zstandard; serves them on 127.0.0.1 with range
requests and redirects; and reads each through dist/src/corpus. The texts must be those that pyarrow reads (and
`datasets`, of the first of each kind), and of Parquet at most 1.2 times the text column's bytes may be asked for.
Exit status 1 if anything is wrong.
"""
import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq

COMMIT = '5a' * 20
READER = """
import { hubCorpus } from 'ROOT/dist/src/corpus/hub-dataset.js';
import { readDocuments } from 'ROOT/dist/src/corpus/documents.js';
const { files } = await hubCorpus({ corpus: process.argv[2] });
for await (const { pieces } of readDocuments(process.argv[2], 'text', { files })) {
  let text = '';
  for await (const piece of pieces) text += piece;
  process.stdout.write(JSON.stringify(text) + '\\n');
}
"""

arguments = argparse.ArgumentParser()
arguments.add_argument('--latency', type=float, default=0)
arguments.add_argument('--documents', type=int, default=2000)
args = arguments.parse_args()

errors = []
asked = {}
files = {}


class Hub(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = unquote(urlparse(self.path).path)
        if path.startswith('/api/datasets/o/d/revision/'):
            return self.answer(json.dumps({'_id': '1', 'id': 'o/d', 'sha': COMMIT, 'lastModified': '2024-08-01T00:00:00.000Z'}).encode())
        if path.startswith('/api/datasets/o/d/tree/'):
            entries = [{'type': 'file', 'path': name, 'size': len(data), 'oid': 'x'} for name, data in files.items()]
            return self.answer(json.dumps(entries).encode())
        if path.startswith('/datasets/o/d/resolve/'):
            return self.answer(b'', 302, [('location', '/storage/' + path.split('/', 6)[6])])
        name = path.removeprefix('/storage/')
        data = files[name]
        first, last = (int(part) for part in self.headers['range'].removeprefix('bytes=').split('-'))
        asked[name] = asked.get(name, 0) + last + 1 - first
        time.sleep(args.latency)
        self.answer(data[first:last + 1], 206, [('content-range', f'bytes {first}-{last}/{len(data)}')])


def tables(rng):
    words = [''.join(rng.choices('abcdefghijklmnopqrstuvwxyzäλ😀', k=rng.randint(1, 12))) for _ in range(5000)]
    text = [None if rng.random() < 0.05 else ' '.join(rng.choices(words, k=rng.randint(0, 400))) for _ in range(args.documents)]
    wide = [' '.join(rng.choices(words, k=300)) for _ in text]
    nested = [{'url': w[:20], 'tags': w.split()[:3]} for w in wide]
    nothing = pa.nulls(len(text))
    repeated = [text[i % 7] for i in range(len(text))]
    for kind in (pa.string(), pa.large_string()):
        yield str(kind), pa.table({'wide': wide, 'nested': nested, 'text': pa.array(text, kind), 'nothing': nothing, 'end': wide})
    yield 'repeated', pa.table({'wide': wide, 'nested': nested, 'text': pa.array(repeated, pa.string()), 'nothing': nothing})


def write_all(directory):
    for kind, table in tables(random.Random(7)):
        for codec in ('none', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4'):
            for version, dictionary in (('1.0', True), ('2.0', False)):
                name = f'{kind}-{codec}-{version}-{"dictionary" if dictionary else "plain"}.parquet'
                pq.write_table(table, directory / name, compression=codec, data_page_version=version, use_dictionary=dictionary, row_group_size=max(1, args.documents // 4))
        pq.write_table(table, directory / f'{kind}-delta.parquet', use_dictionary=False, column_encoding={'text': 'DELTA_BYTE_ARRAY'}, compression='zstd')
    lines = ''.join(json.dumps({'id': i, 'text': text}) + '\n' for i, text in enumerate(table['text'].to_pylist())).encode()
    (directory / 'lines.jsonl').write_bytes(lines)
    (directory / 'lines-gz.jsonl.gz').write_bytes(gzip.compress(lines))
    try:
        import zstandard
        (directory / 'lines-zst.jsonl.zst').write_bytes(zstandard.ZstdCompressor().compress(lines))
    except ImportError:
        print('zstandard is not installed: .zst is left out')


def wanted_texts(path):
    if path.suffix == '.parquet':
        return [text for text in pq.read_table(path, columns=['text'])['text'].to_pylist() if text is not None]
    raw = (path.parent / 'lines.jsonl').read_bytes()
    return [text for text in (json.loads(line)['text'] for line in raw.decode().splitlines()) if text is not None]


def datasets_texts(path):
    import datasets
    kind = 'parquet' if path.suffix == '.parquet' else 'json'
    rows = datasets.load_dataset(kind, data_files=str(path), split='train', streaming=True)
    return [row['text'] for row in rows if row['text'] is not None]


def main():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, 'HF_ENDPOINT': f'http://127.0.0.1:{server.server_port}', 'HF_HUB_DISABLE_TELEMETRY': '1'}
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place, 'files')
        directory.mkdir()
        reader = Path(place, 'read.mjs')
        reader.write_text(READER.replace('ROOT', os.getcwd()))
        write_all(directory)
        for path in sorted(directory.iterdir()):
            files[path.name] = path.read_bytes()
        for number, path in enumerate(sorted(directory.iterdir())):
            started = time.time()
            done = subprocess.run(['node', reader, f'hf:o/d/{path.name}'], capture_output=True, text=True, env=environment)
            seconds = time.time() - started
            found = [json.loads(line) for line in done.stdout.splitlines()]
            wanted = wanted_texts(path)
            problems = [] if found == wanted else [f'{len(found)} texts where {len(wanted)} belong, or others: {done.stderr[-300:]}']
            if number % 12 == 0 or path.suffix != '.parquet':
                problems += [] if datasets_texts(path) == wanted else ['datasets reads other texts']
            share = asked[path.name] / len(files[path.name])
            if path.suffix == '.parquet':
                metadata = pq.ParquetFile(path).metadata
                index = metadata.row_group(0).to_dict()['columns']
                of_text = next(i for i, column in enumerate(index) if column['path_in_schema'] == 'text')
                column = sum(metadata.row_group(g).column(of_text).total_compressed_size for g in range(metadata.num_row_groups))
                share = asked[path.name] / column
                if share > 1.2 and column > 2**18:
                    problems.append(f'{asked[path.name]} bytes were asked for, and the text column has {column}')
            errors.extend(problems)
            print(f'{"FAIL" if problems else "ok"} {path.name}: {len(found)} documents, {share:.2f} of the text’s bytes asked for, {seconds:.1f} s', *problems)
    sys.exit(1 if errors else 0)


main()
