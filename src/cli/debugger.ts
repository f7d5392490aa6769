import { endBy } from './stop-signals.js';

/**
 * Closes the debugger that a SIGUSR1 has opened before this program listened for that signal: anybody who reaches its
 * port can run code here. The signal asked to stop, so the process ends by it. A debugger that the user asked for
 * (`node --inspect`) stays.
 */
export async function closeUnaskedDebugger(): Promise<void> {
  const asked = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((words) => words.includes('--inspect'));
  if (asked || !process.features.inspector) return;
  const inspector = await import('node:inspector');
  if (inspector.url() === undefined) return;
  inspector.close();
  endBy('SIGUSR1');
}
