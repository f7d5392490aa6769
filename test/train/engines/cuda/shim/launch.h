// How a kernel is called from outside: its arguments packed in eight bytes each, with a letter for the kind of each.
#pragma once
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>

enum { FORWARDS, BACKWARDS, SHUFFLED };

// What went wrong, or null.
const char *launchGrid(int x, int y, int threads, int order, unsigned seed, const std::function<void()> &thread);

template <class T> constexpr char kindOf() {
  if (std::is_pointer_v<T>) return 'p';
  if (std::is_same_v<T, int>) return 'i';
  if (std::is_same_v<T, long long>) return 'l';
  if (std::is_same_v<T, float>) return 'f';
  return '?';
}

template <class T> T argument(const unsigned char *packed, size_t i) {
  T value;
  memcpy(&value, packed + 8 * i, sizeof value);
  return value;
}

template <class... Types, size_t... Places>
const char *launchKernel(void (*kernel)(Types...), std::index_sequence<Places...>, int x, int y, int threads, int order,
                         unsigned seed, const unsigned char *packed, const char *kinds) {
  const char declared[] = {kindOf<Types>()..., 0};
  if (strcmp(declared, kinds) != 0) return "arguments are not of the kinds that the kernel declares";
  return launchGrid(x, y, threads, order, seed, [&] { kernel(argument<Types>(packed, Places)...); });
}

template <class... Types>
const char *launchKernel(void (*kernel)(Types...), int x, int y, int threads, int order, unsigned seed,
                         const unsigned char *packed, const char *kinds) {
  return launchKernel(kernel, std::index_sequence_for<Types...>{}, x, y, threads, order, seed, packed, kinds);
}

#define LAUNCHER(name)                                                                                              \
  extern "C" const char *launch_##name(int x, int y, int threads, int order, unsigned seed,                          \
                                       const unsigned char *packed, const char *kinds) {                             \
    return launchKernel(name, x, y, threads, order, seed, packed, kinds);                                            \
  }
