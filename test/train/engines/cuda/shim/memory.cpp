// The device's memory: every array ends at pages that nobody may touch, and has a zone before it that must stay as it
// is. What is not yet written is NaN. And matrix products, as plain loops.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {
constexpr unsigned char GUARD = 0xa5;
const size_t page = sysconf(_SC_PAGESIZE);
// What lies behind an array and may not be touched; a stray index reaches further than a page.
const size_t forbidden = 64 * page;
size_t pages(size_t bytes) { return (bytes + page - 1) / page * page; }

float fromBfloat16(uint16_t bits) { return __builtin_bit_cast(float, uint32_t(bits) << 16); }

// Ten bits of mantissa, to the nearest, ties away from zero.
float toTf32(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  if ((bits & 0x7f800000) == 0x7f800000) return value;
  return __builtin_bit_cast(float, (bits + 0x1000) & ~0x1fffu);
}
}  // namespace

// [guard … array][forbidden]; the array's end is rounded up to 16 bytes, and checked by the guard too.
extern "C" uint64_t allocate_guarded(uint64_t bytes) {
  const size_t aligned = (bytes + 15) / 16 * 16;
  const size_t whole = pages(aligned + page);
  char *at = (char *)mmap(nullptr, whole + forbidden, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return 0;
  mprotect(at + whole, forbidden, PROT_NONE);
  char *array = at + whole - aligned;
  memset(at, GUARD, whole);
  memset(array, 0xff, bytes);
  return (uint64_t)array;
}

// Whether nothing was written around the array.
extern "C" int guards_hold(uint64_t pointer, uint64_t bytes) {
  static const std::vector<unsigned char> untouched(2 * page + 16, GUARD);
  const size_t aligned = (bytes + 15) / 16 * 16;
  const unsigned char *array = (unsigned char *)pointer;
  const size_t before = pages(aligned + page) - aligned;
  return memcmp(array - before, untouched.data(), before) == 0 &&
         memcmp(array + bytes, untouched.data(), aligned - bytes) == 0;
}

extern "C" void free_guarded(uint64_t pointer, uint64_t bytes) {
  const size_t aligned = (bytes + 15) / 16 * 16;
  const size_t whole = pages(aligned + page);
  munmap((char *)pointer - (whole - aligned), whole + forbidden);
}

extern "C" void copy_bytes(uint64_t to, uint64_t from, uint64_t bytes) { memmove((void *)to, (void *)from, bytes); }
extern "C" void copy_in(uint64_t to, const uint8_t *from, uint64_t bytes) { memcpy((void *)to, from, bytes); }
extern "C" void copy_out(uint8_t *to, uint64_t from, uint64_t bytes) { memcpy(to, (void *)from, bytes); }
extern "C" void clear_bytes(uint64_t to, uint64_t bytes) { memset((void *)to, 0, bytes); }

// Strides are of A and B as they lie. precision: 0 float32, 1 tf32, 2 bfloat16.
extern "C" void multiply(int m, int n, int k, uint64_t a, int strideA, int transposedA, uint64_t b, int strideB,
                         int transposedB, uint64_t c, int strideC, int accumulate, int precision) {
  auto read = [precision](uint64_t at, size_t i) {
    if (precision == 2) return fromBfloat16(((const uint16_t *)at)[i]);
    const float value = ((const float *)at)[i];
    return precision == 1 ? toTf32(value) : value;
  };
  auto place = [](size_t row, size_t column, int stride, int transposed) {
    return transposed ? column * stride + row : row * stride + column;
  };
  std::vector<float> left(size_t(m) * k), right(size_t(n) * k);
  for (size_t row = 0; row < size_t(m); row++) {
    for (size_t i = 0; i < size_t(k); i++) left[row * k + i] = read(a, place(row, i, strideA, transposedA));
  }
  for (size_t j = 0; j < size_t(n); j++) {
    for (size_t i = 0; i < size_t(k); i++) right[j * k + i] = read(b, place(i, j, strideB, transposedB));
  }
  for (size_t row = 0; row < size_t(m); row++) {
    for (size_t column = 0; column < size_t(n); column++) {
      float sum = 0;
      for (size_t i = 0; i < size_t(k); i++) sum += left[row * k + i] * right[column * k + i];
      float &at = ((float *)c)[row * strideC + column];
      at = accumulate ? at + sum : sum;
    }
  }
}
