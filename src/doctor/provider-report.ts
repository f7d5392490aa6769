/** State of ONNX Runtime's CUDA provider, as lines of text. */
import { dirname } from 'node:path';
import { CUDNN } from '../machine/cuda-libraries.js';
import { type CudaProvider, PROVIDER_FILES } from '../onnx/cuda-provider.js';
import { tf32Remark } from '../onnx/tf32.js';

/** As sent from another process. */
export type ProviderReport = Omit<CudaProvider, 'refusal' | 'late'> & { readonly refusal: string | null };

/** What was found, one line per location: "in DIRECTORY (who names it): files". */
export function foundLines({ directory, origin, found }: ProviderReport): string[] {
  const provider =
    directory === null ? [] : PROVIDER_FILES.map((file) => ({ file, path: `${directory}/${file}`, origin }));
  const byPlace = new Map<string, string[]>();
  for (const { file, path, origin } of [...provider, ...found]) {
    // The system's loader does not report where.
    const place = path.includes('/') ? `in ${dirname(path)} (${origin})` : `by ${origin}`;
    byPlace.set(place, [...(byPlace.get(place) ?? []), file]);
  }
  return [...byPlace].map(([place, files]) => `found ${place}: ${files.join(', ')}`);
}

/** What prevents the provider's use, its own libraries first. cuDNN is not listed: few operators need it. */
export function obstacleLines({ missing, refusal }: ProviderReport): string[] {
  const needed = missing.filter(({ file }) => file !== CUDNN.files[0]);
  const absent = needed.filter(({ reason }) => !reason.includes(' did not load: '));
  const broken = needed.filter((one) => !absent.includes(one));
  const looked = /looked in .*/.exec(absent[0]?.reason ?? '')?.[0].replace(/\.$/, '');
  return [
    ...(refusal === null ? [] : [refusal.replace(/\.$/, '')]),
    ...(absent.length === 0 ? [] : [`not found: ${absent.map(({ file }) => file).join(', ')} (${looked})`]),
    ...broken.map(({ reason }) => reason.replace(/\.$/, '')),
  ];
}

/** What the trial of a working provider does not show. */
export function providerNotes({ missing }: ProviderReport, environment = process.env): string[] {
  const tf32 = tf32Remark('cuda', environment);
  const cudnn = missing.some(({ file }) => file === CUDNN.files[0]);
  return [
    ...(tf32 === undefined ? [] : [tf32.replace(/\.$/, '')]),
    ...(cudnn
      ? [`${CUDNN.files[0]} does not load: harvests into float16 stores and train --engine reference need it`]
      : []),
  ];
}
