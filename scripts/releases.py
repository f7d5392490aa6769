"""Write assets/releases.json from SAELens's public list of SAEs (sae_lens/pretrained_saes.yaml): facts only.

    python scripts/releases.py                  # in an environment with sae-lens, from the repo root

Of each release: repository, model, and groups of SAEs. Ids and paths that differ in numbers only share a group: $0, $1, …
stand for the columns of a row; columns named in `also` follow (l0, scale = √d over the mean norm of activations).
"""
import json
import re
from importlib.metadata import version
from pathlib import Path

import sae_lens
import yaml

# By SAELens's loader: what has no exact form here.
REFUSED = {
    'mntss_clt_layer_transcoder': 'a cross-layer transcoder', 'temporal': 'a temporal SAE',
    'connor_rob_hook_z': 'a .pt file of the layout connor_rob_hook_z', 'goodfire': 'a .pt file of the layout goodfire',
    'deepseek_r1': 'a .pt file of the layout deepseek_r1',
}
NUMBER = re.compile(r'\d+(?:\.\d+)?')


def pattern(sae_id, path):
    """Both with columns for numbers, and the columns: those of the id first, then those that the path alone has"""
    columns = NUMBER.findall(sae_id)
    count = iter(range(len(columns)))
    template = NUMBER.sub(lambda _: f'${next(count)}', sae_id)
    free = list(range(len(columns)))

    def column(match):
        at = next((i for i in free if columns[i] == match.group()), None)
        if at is None:
            columns.append(match.group())
            return f'${len(columns) - 1}'
        free.remove(at)
        return f'${at}'

    return template, NUMBER.sub(column, path), columns


def release(entry):
    groups = {}
    for sae in entry['saes']:
        template, path, columns = pattern(str(sae['id']), str(sae['path']))
        assert not re.search(r'[,;$]', f"{sae['id']}{sae['path']}"), sae
        also = tuple(key for key, name in (('l0', 'l0'), ('scale', 'norm_scaling_factor')) if sae.get(name) is not None)
        more = [format(sae[name], '.10g') for name in ('l0', 'norm_scaling_factor') if sae.get(name) is not None]
        groups.setdefault((template, path, also), []).append(','.join(columns + more))
    out = dict(repo=entry['repo_id'], model=entry['model'])
    loader = entry.get('conversion_func')
    if loader in REFUSED:
        out['refused'] = REFUSED[loader]
    if entry.get('config_overrides', {}).get('model_from_pretrained_kwargs', {}).get('center_writing_weights'):
        out['refused'] = 'an SAE of a model with center_writing_weights, whose activations are others'
    if any('/clt/' in f'/{path}' for (_, path, _) in groups):
        out['refused'] = 'a cross-layer transcoder'
    out['groups'] = [dict(id=i, path=p, **(dict(also=list(a)) if a else {}), rows=';'.join(rows))
                     for (i, p, a), rows in groups.items()]
    return out


def check(table, listed):
    """Every id and path comes back from the table"""
    for name, entry in listed.items():
        wanted = {(str(sae['id']), str(sae['path'])) for sae in entry['saes']}
        found = set()
        for group in table[name]['groups']:
            for row in group['rows'].split(';'):
                fill = lambda text: re.sub(r'\$(\d+)', lambda m: row.split(',')[int(m.group(1))], text)
                found.add((fill(group['id']), fill(group['path'])))
        assert found == wanted, name


def main():
    listed = yaml.safe_load((Path(sae_lens.__file__).parent / 'pretrained_saes.yaml').read_text())
    table = {name: release(entry) for name, entry in sorted(listed.items())}
    check(table, listed)
    saes = sum(len(entry['saes']) for entry in listed.values())
    source = f'sae-lens {version("sae-lens")}, pretrained_saes.yaml: {len(table)} releases, {saes} SAEs'
    text = ',\n'.join(f'{json.dumps(name)}:{json.dumps(entry, separators=(",", ":"))}' for name, entry in table.items())
    Path('assets/releases.json').write_text(f'{{"source":{json.dumps(source)},"releases":{{\n{text}\n}}}}\n')
    print(source)


if __name__ == '__main__':
    main()
