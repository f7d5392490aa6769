/*
 * A CUDA runtime without a GPU, enough for ONNX Runtime's CUDA provider to open sessions, place every node and run:
 * it computes nothing, and records every call in the file that CUDA_STUB_TRACE names. "Device" memory is the
 * host's and begins as zeros. Kernels that compute shapes, on which later sizes depend, are computed.
 *
 * Lines: "kernel NAME", "copy H2D|D2H|D2D|H2H BYTES sync|async", "malloc BYTES", "wait".
 */
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static FILE *trace;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void cuda_stub_log(const char *format, ...) {
  pthread_mutex_lock(&lock);
  if (!trace) {
    const char *path = getenv("CUDA_STUB_TRACE");
    trace = fopen(path ? path : "/dev/null", "a");
  }
  va_list arguments;
  va_start(arguments, format);
  vfprintf(trace, format, arguments);
  va_end(arguments);
  fflush(trace);
  pthread_mutex_unlock(&lock);
}

/* Names of kernels, by the address of their host function: an open hash table. */

#define KERNELS (1u << 21)
static const void **addresses;
static const char **names;

static size_t place_of(const void *function) {
  size_t i = ((size_t)function >> 4) * 11400714819323198485ull % KERNELS;
  while (addresses[i] && addresses[i] != function) i = (i + 1) % KERNELS;
  return i;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int limit, void *tid,
                            void *bid, void *block, void *grid, int *warp) {
  pthread_mutex_lock(&lock);
  if (!addresses) {
    addresses = calloc(KERNELS, sizeof *addresses);
    names = calloc(KERNELS, sizeof *names);
  }
  size_t i = place_of(host);
  addresses[i] = host;
  names[i] = name;
  pthread_mutex_unlock(&lock);
}

static const char *name_of(const void *function) {
  const char *name = addresses ? names[place_of(function)] : NULL;
  return name ? name : "?";
}

void **__cudaRegisterFatBinary(void *binary) {
  static void *handle;
  return &handle;
}

/* Launches. */

struct configuration {
  dim3 grid, block;
  size_t shared;
  void *stream;
};
static __thread struct configuration pushed[64];
static __thread int depth;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
  pushed[depth++] = (struct configuration){grid, block, shared, stream};
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
  struct configuration last = pushed[--depth];
  *grid = last.grid;
  *block = last.block;
  *shared = last.shared;
  *(void **)stream = last.stream;
  return 0;
}

/* Arithmetic of int64 shapes, by the mangled names of ONNX Runtime's kernels. */
static void compute(const char *name, void **arguments) {
  if (strstr(name, "_BinaryElementWiseSimple") && strstr(name, "ElllNS0_")) {
    int64_t *left = *(int64_t **)arguments[0], *right = *(int64_t **)arguments[1], *out = *(int64_t **)arguments[2];
    int count = *(int *)arguments[4], many_left = strstr(name, "SimpleILb1") != 0, many_right = strstr(name, "Lb1ElllNS") != 0;
    for (int i = 0; i < count; i++) {
      int64_t a = left[many_left ? i : 0], b = right[many_right ? i : 0];
      out[i] = strstr(name, "OP_Mul")   ? a * b
               : strstr(name, "OP_Add") ? a + b
               : strstr(name, "OP_Sub") ? a - b
               : strstr(name, "OP_Max") ? (a > b ? a : b)
               : strstr(name, "OP_Div") ? (b ? a / b : 0)
                                        : 0;
    }
  } else if (strstr(name, "_FillFromDataPtrKernelIlL")) {
    int64_t *out = *(int64_t **)arguments[0], value = **(int64_t **)arguments[1];
    for (int i = 0, count = *(int *)arguments[2]; i < count; i++) out[i] = value;
  } else if (strstr(name, "_UnaryElementWiseIliNS0_7OP_Cast")) {
    int64_t *in = *(int64_t **)arguments[0], count = *(int64_t *)arguments[3];
    int32_t *out = *(int32_t **)arguments[1];
    for (int64_t i = 0; i < count; i++) out[i] = (int32_t)in[i];
  }
}

static cudaError_t launched(const void *function, void **arguments) {
  const char *name = name_of(function);
  compute(name, arguments);
  cuda_stub_log("kernel %s\n", name);
  return 0;
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t s) {
  return launched(function, arguments);
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t s) {
  return launched((const void *)kernel, arguments);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *how, const void *function, void **arguments) {
  return launched(function, arguments);
}
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
  *kernel = (cudaKernel_t)function;
  return 0;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
  function(data);
  return 0;
}

/* The device: an H200. */

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return 0;
}
cudaError_t cudaGetDevice(int *device) {
  *device = 0;
  return 0;
}
cudaError_t cudaDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return 0;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  static const int known[][2] = {
      {cudaDevAttrComputeCapabilityMajor, 9},
      {cudaDevAttrMultiProcessorCount, 132},
      {cudaDevAttrMaxSharedMemoryPerBlock, 49152},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472},
      {cudaDevAttrMaxThreadsPerBlock, 1024},
      {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
      {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
      {cudaDevAttrWarpSize, 32},
      {cudaDevAttrMemoryPoolsSupported, 1},
      {cudaDevAttrMaxGridDimX, 2147483647},
      {cudaDevAttrMaxGridDimY, 65535},
  };
  *value = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i][0] == (int)attribute) *value = known[i][1];
  return 0;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "NVIDIA H200");
  p->totalGlobalMem = 150ull << 30;
  p->major = 9;
  p->multiProcessorCount = 132;
  p->warpSize = 32;
  p->sharedMemPerBlock = 49152;
  p->sharedMemPerBlockOptin = 232448;
  p->sharedMemPerMultiprocessor = 233472;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->l2CacheSize = 60 << 20;
  p->concurrentKernels = p->unifiedAddressing = 1;
  p->asyncEngineCount = 3;
  return 0;
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
  memset(attributes, 0, sizeof *attributes);
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 64;
  attributes->binaryVersion = attributes->ptxVersion = 90;
  attributes->maxDynamicSharedSizeBytes = 232448;
  return 0;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int threads,
                                                                   size_t shared, unsigned flags) {
  *blocks = 2;
  return 0;
}

const char *cudaGetErrorName(cudaError_t error) { return "stub"; }
const char *cudaGetErrorString(cudaError_t error) { return "stub"; }

/* Memory: anonymous pages, which nobody pays for before they are touched; their size stands in the page before. */

#define PAGE 4096
static size_t used;

static void *allocated(size_t bytes) {
  char *pages = mmap(0, bytes + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return NULL;
  *(size_t *)pages = bytes;
  return pages + PAGE;
}
static size_t freed(void *memory) {
  if (!memory) return 0;
  char *pages = (char *)memory - PAGE;
  size_t bytes = *(size_t *)pages;
  munmap(pages, bytes + 2 * PAGE);
  return bytes;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
  *memory = allocated(bytes);
  used += bytes;
  cuda_stub_log("malloc %zu\n", bytes);
  return *memory ? 0 : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *memory) {
  used -= freed(memory);
  return 0;
}
cudaError_t cudaMallocFromPoolAsync(void **memory, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  return cudaMalloc(memory, bytes);
}
cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream) { return cudaFree(memory); }
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags) {
  *memory = allocated(bytes);
  return 0;
}
cudaError_t cudaMallocHost(void **memory, size_t bytes) { return cudaHostAlloc(memory, bytes, 0); }
cudaError_t cudaFreeHost(void *memory) {
  freed(memory);
  return 0;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  *total = 141ull << 30;
  *free = *total - used;
  return 0;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
  *(uint64_t *)value = 0;
  return 0;
}

static cudaError_t copied(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, const char *how) {
  static const char *kinds[] = {"H2H", "H2D", "D2H", "D2D", "default"};
  cuda_stub_log("copy %s %zu %s\n", kinds[kind], bytes, how);
  memmove(to, from, bytes);
  return 0;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
  return copied(to, from, bytes, kind, "sync");
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
  return copied(to, from, bytes, kind, "async");
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              enum cudaMemcpyKind kind, cudaStream_t stream) {
  for (size_t i = 0; i < height; i++) memmove((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
  cuda_stub_log("copy D2D %zu async\n", width * height);
  return 0;
}
cudaError_t cudaMemcpyFromSymbol(void *to, const void *symbol, size_t bytes, size_t offset, enum cudaMemcpyKind kind) {
  memset(to, 0, bytes);
  return 0;
}
cudaError_t cudaMemset(void *to, int value, size_t bytes) {
  memset(to, value, bytes);
  return 0;
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) { return cudaMemset(to, value, bytes); }

/* Streams and events are handles; everything has happened as soon as it is asked for. */

#define HANDLE(function, type, ...)        \
  cudaError_t function(type *made, ##__VA_ARGS__) { \
    *made = (type)malloc(8);               \
    return 0;                              \
  }
HANDLE(cudaEventCreate, cudaEvent_t)
HANDLE(cudaEventCreateWithFlags, cudaEvent_t, unsigned flags)
HANDLE(cudaStreamCreate, cudaStream_t)
HANDLE(cudaStreamCreateWithFlags, cudaStream_t, unsigned flags)
HANDLE(cudaMemPoolCreate, cudaMemPool_t, const struct cudaMemPoolProps *properties)
HANDLE(cudaLibraryLoadData, cudaLibrary_t, const void *code, enum cudaJitOption *jit, void **jit_values, unsigned jits,
       enum cudaLibraryOption *options, void **values, unsigned count)
HANDLE(cudaLibraryGetKernel, cudaKernel_t, cudaLibrary_t library, const char *name)

static cudaError_t waited(void) {
  cuda_stub_log("wait\n");
  return 0;
}
cudaError_t cudaDeviceSynchronize(void) { return waited(); }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return waited(); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return waited(); }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = 1;
  return 0;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  *status = cudaStreamCaptureStatusNone;
  return 0;
}

static int nothing(void) { return 0; }
cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags, enum cudaDriverEntryPointQueryResult *result) {
  *function = (void *)nothing;
  if (result) *result = cudaDriverEntryPointSuccess;
  return 0;
}
