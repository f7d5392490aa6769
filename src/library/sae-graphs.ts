import { encoderGraph } from '../features/encoder.js';
import { GraphBuilder } from '../onnx/graph.js';
import type { SessionOptions } from '../onnx/session.js';
import { decodeFeatures, forward, storedParameters } from '../sae/forward-graph.js';
import type { SaeFiles } from '../sae/saelens.js';
import { RowGraph } from './row-graph.js';

// The graphs of an SAE alone, with weights read directly from its file.

/** x [rows, d_in] → f [rows, d_sae]. */
function encode(sae: SaeFiles, options: SessionOptions): Promise<RowGraph> {
  return RowGraph.open(encoderGraph(sae), { input: 'x', outputs: { f: sae.dSae } }, options);
}

/** x [rows, d_in] → f [rows, d_sae], xHat [rows, d_out]. */
function reconstruct(sae: SaeFiles, options: SessionOptions): Promise<RowGraph> {
  const g = new GraphBuilder('reconstruct');
  const { f, xHat } = forward(g, sae, storedParameters(g, sae, ''), g.input('x', 'float32', ['rows', sae.dIn]));
  g.output('f', f, 'float32', ['rows', sae.dSae]);
  g.output('xHat', xHat, 'float32', ['rows', sae.dOut]);
  return RowGraph.open(g.encode(), { input: 'x', outputs: { f: sae.dSae, xHat: sae.dOut } }, options);
}

/** f [rows, d_sae] → xHat [rows, d_out]; for an SAE whose reconstruction depends on f alone. */
function decode(sae: SaeFiles, options: SessionOptions): Promise<RowGraph> {
  const g = new GraphBuilder('decode');
  const f = g.input('f', 'float32', ['rows', sae.dSae]);
  g.output('xHat', decodeFeatures(g, sae, storedParameters(g, sae, ''), f), 'float32', ['rows', sae.dOut]);
  return RowGraph.open(g.encode(), { input: 'f', outputs: { xHat: sae.dOut } }, options);
}

const GRAPHS = { encode, reconstruct, decode };
type SaeGraphName = keyof typeof GRAPHS;

/** The graphs of one SAE, each opened on first use. */
export class SaeGraphs {
  private readonly open = new Map<SaeGraphName, Promise<RowGraph>>();

  constructor(
    private readonly files: SaeFiles,
    private readonly options: SessionOptions,
  ) {}

  get(name: SaeGraphName): Promise<RowGraph> {
    const graph = this.open.get(name) ?? GRAPHS[name](this.files, this.options);
    this.open.set(name, graph);
    graph.catch(() => this.open.delete(name));
    return graph;
  }

  async release(): Promise<void> {
    const graphs = [...this.open.values()];
    this.open.clear();
    for (const graph of graphs) await (await graph.catch(() => undefined))?.release();
  }
}
