/**
 * Saves a figure as a file of its own: a copy of the SVG in which every style is written out as an attribute (editors
 * know few style sheets and no CSS variables), in the light theme. Without a script the buttons stay hidden.
 */
const SAVE_SCRIPT = `
const PROPERTIES = ['fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-opacity', 'stroke-linejoin', 'stroke-linecap',
  'stroke-dasharray', 'font-size', 'font-weight', 'text-anchor'];
function standaloneSvg(svg) {
  const copy = svg.cloneNode(true);
  document.documentElement.dataset.theme = 'light';
  const hits = copy.querySelectorAll('.hit');
  const [live, copied] = [svg, copy].map((root) => root.querySelectorAll('svg, g, path, line, circle, rect, text'));
  live.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of PROPERTIES) {
      // Type has no outline.
      if (element.tagName === 'text' ? /^stroke/.test(property) : /^(font|text)/.test(property)) continue;
      copied[i].setAttribute(property, style.getPropertyValue(property));
    }
    copied[i].removeAttribute('class');
  });
  delete document.documentElement.dataset.theme;
  hits.forEach((element) => element.remove());
  const box = svg.viewBox.baseVal;
  copy.removeAttribute('style');
  copy.removeAttribute('class');
  copy.setAttribute('width', box.width);
  copy.setAttribute('height', box.height);
  copy.setAttribute('font-family', 'Helvetica, Arial, sans-serif');
  return new XMLSerializer().serializeToString(copy);
}
for (const button of document.querySelectorAll('button.save')) {
  button.hidden = false;
  button.addEventListener('click', () => {
    const link = document.createElement('a');
    const svg = standaloneSvg(document.getElementById(button.dataset.figure));
    link.href = URL.createObjectURL(new Blob([svg], { type: 'image/svg+xml' }));
    link.download = button.dataset.figure + '.svg';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
`;

/**
 * Sorts the rows of a table by the column whose head is clicked (or chosen with Enter), upwards first, then downwards.
 * Rows stay in their group; what has no value stays last. Without a script the table stands as it is.
 */
const SORT_SCRIPT = `
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  const sortBy = (column) => {
    const direction = heads[column].ariaSort === 'ascending' ? -1 : 1;
    heads.forEach((head, i) => {
      if (i === column) head.ariaSort = direction === 1 ? 'ascending' : 'descending';
      else head.removeAttribute('aria-sort');
    });
    const valueOf = (row) => {
      const cell = row.cells[column];
      if (!('value' in cell.dataset)) return cell.textContent;
      return cell.dataset.value === '' ? null : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const [x, y] = [valueOf(a), valueOf(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return direction * (typeof x === 'number' ? x - y : x < y ? -1 : x > y ? 1 : 0);
    };
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.matches('.group'));
      body.append(...rows.sort(compare));
    }
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.classList.add('sorts');
    head.addEventListener('click', () => sortBy(column));
    head.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      sortBy(column);
    });
  });
}
`;

/** All that the page runs. */
export const SCRIPT = `{${SAVE_SCRIPT}}
{${SORT_SCRIPT}}
`;
