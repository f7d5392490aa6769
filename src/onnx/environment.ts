/**
 * Settings that ONNX Runtime reads from the environment when it loads. Set where the program begins: what a thread
 * sets for itself, native code does not see.
 */

// Its Linux build keeps usage records in the home directory otherwise; nothing is written outside --out here.
process.env.ORT_DISABLE_TELEMETRY = '1';
// Its CUDA provider prefers cuDNN's attention on newer cards, and fails where cuDNN finds no plan; its own flash
// attention has no such condition.
process.env.ORT_ENABLE_CUDNN_FLASH_ATTENTION ??= '0';
