import { entriesOf } from './entries.js';
import type { FigureFile } from './figure-file.js';
import { comparisonsOf, firingSentence, firingTable, overallSentence } from './firing-table.js';
import { notDrawn, paretoFigure } from './pareto.js';
import { pointsOf } from './points.js';
import { readEvaluation } from './read.js';
import { shrinkageFigure } from './shrinkage.js';

/**
 * One of the report's first two figures as a file of its own.
 *
 * @param directory that eval wrote
 * @param command that draws it
 */
export async function evaluationFigure(
  name: 'pareto' | 'shrinkage',
  directory: string,
  command: string,
): Promise<FigureFile> {
  const entries = entriesOf(await readEvaluation(directory));
  if (name === 'shrinkage') {
    const points = pointsOf(entries, 'relative_reconstruction_bias');
    return {
      title: 'Relative reconstruction bias',
      svg: shrinkageFigure(points, {}),
      caption: `Relative reconstruction bias γ against L0 of the SAEs in ${directory}, with 95 % intervals. Below 1 (dotted), reconstructions are too small: shrinkage (Rajamanoharan et al. 2024, section 4.2). ${notDrawn(points, 'γ')}`,
      command,
    };
  }
  const points = pointsOf(entries, 'loss_recovered');
  const comparisons = comparisonsOf(points, null);
  const table = comparisons.length === 0 ? null : firingTable(comparisons);
  const overall = overallSentence(comparisons);
  return {
    title: 'Loss recovered against L0',
    svg: paretoFigure(points, {}),
    caption: `Loss recovered against L0 of the SAEs in ${directory}, with 95 % intervals; a panel a hook. ${notDrawn(points, 'loss recovered')}`,
    sentences: [...comparisons.map(firingSentence), ...(overall === null ? [] : [overall])],
    table: table && {
      markup: table,
      caption: 'Firing features at equal loss recovered: L0 of gated SAEs over that of standard ones.',
    },
    command,
  };
}
