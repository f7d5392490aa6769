"""Hugging Face's tokenizers for `npm run bench:tokenize`: one thread, each text by itself.

    python bench/peers/tokenize_texts.py TOKENIZER.json TEXTS.json

prints a line of JSON: CPU seconds, tokens, SHA-256 of the ids as int32, version.
"""
import hashlib
import json
import os
import sys
import time
from array import array

os.environ['TOKENIZERS_PARALLELISM'] = 'false'
os.environ['RAYON_NUM_THREADS'] = '1'
import tokenizers  # noqa: E402  (reads the environment)

tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
texts = json.load(open(sys.argv[2]))
tokenizer.encode('to warm up', add_special_tokens=False)
seconds, count, sha256 = 0.0, 0, hashlib.sha256()
for text in texts:
    begin = time.process_time()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    seconds += time.process_time() - begin
    count += len(ids)
    sha256.update(array('i', ids).tobytes())
print(json.dumps({'seconds': seconds, 'tokens': count, 'sha256': sha256.hexdigest(), 'version': tokenizers.__version__}))
