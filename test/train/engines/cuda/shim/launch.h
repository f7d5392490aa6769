// How a kernel is called from outside: with the bytes of its only parameter. Included before each text of kernels, so it
// includes little itself: <functional> alone would take longer to compile than they do.
#pragma once
#include <string.h>

enum { FORWARDS, BACKWARDS, SHUFFLED };

// Calls `thread` with `given` on each thread of a grid. What went wrong, or null.
const char *launchGrid(int x, int y, int threads, int order, unsigned seed, void (*thread)(void *), void *given);

template <class Argument> struct Call {
  void (*kernel)(Argument);
  Argument argument;
};

template <class Argument>
const char *launchKernel(void (*kernel)(Argument), int x, int y, int threads, int order, unsigned seed,
                         const unsigned char *bytes, int size) {
  if (size != int(sizeof(Argument))) return "the argument is not of the size that the kernel declares";
  Call<Argument> call;
  call.kernel = kernel;
  memcpy(&call.argument, bytes, sizeof call.argument);
  const auto thread = [](void *given) {
    const auto &made = *static_cast<Call<Argument> *>(given);
    made.kernel(made.argument);
  };
  return launchGrid(x, y, threads, order, seed, thread, &call);
}

#define LAUNCHER(name)                                                                                              \
  extern "C" const char *launch_##name(int x, int y, int threads, int order, unsigned seed,                          \
                                       const unsigned char *bytes, int size) {                                       \
    return launchKernel(name, x, y, threads, order, seed, bytes, size);                                              \
  }
