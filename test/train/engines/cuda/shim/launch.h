// How a kernel is called from outside: with the bytes of its only parameter.
#pragma once
#include <cstring>
#include <functional>

enum { FORWARDS, BACKWARDS, SHUFFLED };

// What went wrong, or null.
const char *launchGrid(int x, int y, int threads, int order, unsigned seed, const std::function<void()> &thread);

template <class Argument>
const char *launchKernel(void (*kernel)(Argument), int x, int y, int threads, int order, unsigned seed,
                         const unsigned char *bytes, int size) {
  if (size != int(sizeof(Argument))) return "the argument is not of the size that the kernel declares";
  Argument argument;
  memcpy(&argument, bytes, sizeof argument);
  return launchGrid(x, y, threads, order, seed, [&] { kernel(argument); });
}

#define LAUNCHER(name)                                                                                              \
  extern "C" const char *launch_##name(int x, int y, int threads, int order, unsigned seed,                          \
                                       const unsigned char *bytes, int size) {                                       \
    return launchKernel(name, x, y, threads, order, seed, bytes, size);                                              \
  }
