/**
 * Settings that ONNX Runtime reads from the environment when it is loaded. Set at program start: native code does not
 * see variables set in a thread.
 */

// Otherwise its Linux build keeps usage records in the home directory; sae-pipe writes nothing outside --out.
process.env.ORT_DISABLE_TELEMETRY = '1';
// On newer cards its CUDA provider prefers cuDNN's attention, and fails if cuDNN finds no plan; its own flash attention
// has no such problem.
process.env.ORT_ENABLE_CUDNN_FLASH_ATTENTION ??= '0';
