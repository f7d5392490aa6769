import { parentPort } from 'node:worker_threads';
import { type DirectionsWanted, drawDirections } from './directions.js';

// Draws directions for directionsInThreads.

if (!parentPort) throw new Error('directions-worker.js runs in a worker thread');
const port = parentPort;

port.on('message', (wanted: DirectionsWanted) => {
  const drawn = drawDirections(wanted);
  port.postMessage(drawn, [drawn.rows.buffer, drawn.columns.buffer]);
});
