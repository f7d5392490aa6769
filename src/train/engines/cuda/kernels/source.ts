import type { EngineSettings } from '../../engine.js';
import type { CudaPlan } from '../plan.js';
import { adam } from './adam.js';
import { centre } from './centre.js';
import { columns } from './columns.js';
import { decode } from './decode.js';
import { decoderBias } from './decoder-bias.js';
import { defines } from './defines.js';
import { dots } from './dots.js';
import { features } from './features.js';
import { gate } from './gate.js';
import { gather } from './gather.js';
import { layout } from './layout.js';
import { mark } from './mark.js';
import { metrics } from './metrics.js';
import { numbers } from './numbers.js';
import { reductions } from './reductions.js';
import { regroup } from './regroup.js';
import { rows } from './rows.js';
import { scan } from './scan.js';
import { settle } from './settle.js';

/** All kernels of a run as one text; what later ones use stands first. It includes nothing: NVRTC has no headers. */
export function kernelSource(settings: EngineSettings, plan: CudaPlan): string {
  const shared = [defines(settings, plan), reductions, numbers, gate, adam];
  const ofAStep = [centre, columns, mark, scan, gather, decode, dots, regroup, features, rows, decoderBias, metrics];
  return [...shared, ...ofAStep, layout, settle].join('\n');
}
