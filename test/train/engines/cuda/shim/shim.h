// CUDA C on the CPU, as much of it as the kernels use: included before their text.
#pragma once
#include <math.h>

struct Index {
  unsigned x, y, z;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __launch_bounds__(threads)
#define __device__ static
// Blocks run one after another, so what they share can be static; the runtime spoils it between blocks.
#define __shared__ static __attribute__((section("block_shared")))

// Barriers and exchanges of a warp know their line: threads that meet at different ones have diverged.
void meetBlock(int line);
unsigned exchangeInWarp(unsigned value, int kind, int argument, unsigned mask, int line);

enum { SHUFFLE, SHUFFLE_XOR, SHUFFLE_UP, BALLOT };

static inline unsigned bitsOf(float value) { return __builtin_bit_cast(unsigned, value); }
static inline float floatOf(unsigned bits) { return __builtin_bit_cast(float, bits); }
#define __float_as_uint(value) bitsOf(value)
#define __uint_as_float(bits) floatOf(bits)
// Rounded before anything is added: -std=c++20 does not contract.
static inline float __fmul_rn(float a, float b) { return a * b; }

static inline float fromBits(float, unsigned bits) { return floatOf(bits); }
static inline int fromBits(int, unsigned bits) { return (int)bits; }
static inline unsigned fromBits(unsigned, unsigned bits) { return bits; }
static inline unsigned toBits(float value) { return bitsOf(value); }
static inline unsigned toBits(int value) { return (unsigned)value; }
static inline unsigned toBits(unsigned value) { return value; }
template <class T> static T shuffle(T value, int kind, int argument, unsigned mask, int line) {
  return fromBits(value, exchangeInWarp(toBits(value), kind, argument, mask, line));
}

#define __syncthreads() meetBlock(__LINE__)
#define __shfl_sync(mask, value, lane) shuffle(value, SHUFFLE, lane, mask, __LINE__)
#define __shfl_xor_sync(mask, value, other) shuffle(value, SHUFFLE_XOR, other, mask, __LINE__)
#define __shfl_up_sync(mask, value, apart) shuffle(value, SHUFFLE_UP, apart, mask, __LINE__)
#define __ballot_sync(mask, is) exchangeInWarp((is) ? 1u : 0u, BALLOT, 0, mask, __LINE__)

static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline int __ffs(int bits) { return __builtin_ffs(bits); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
// One thread of the machine runs all those of a block.
static inline int atomicAdd(int *at, int value) {
  const int before = *at;
  *at += value;
  return before;
}
static inline unsigned atomicOr(unsigned *at, unsigned bits) {
  const unsigned before = *at;
  *at |= bits;
  return before;
}
