import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DType, dtypeBytes, dtypeCode } from '../../src/onnx/messages.js';

test('element types have the codes and sizes of the ONNX specification', () => {
  const specification: Record<DType, [code: number, bytes: number]> = {
    float32: [1, 4],
    uint8: [2, 1],
    int8: [3, 1],
    uint16: [4, 2],
    int32: [6, 4],
    int64: [7, 8],
    bool: [9, 1],
    float16: [10, 2],
    bfloat16: [16, 2],
  };
  for (const [dtype, [code, bytes]] of Object.entries(specification)) {
    assert.equal(dtypeCode(dtype as DType), code, dtype);
    assert.equal(dtypeBytes(dtype as DType), bytes, dtype);
  }
});
