/*
 * A CUDA driver without a GPU, to run the device's own calls against: memory is malloc's, kernels are the C functions
 * below, and streams are queues. Nothing asynchronous happens until an event is queried or something is waited for;
 * then one piece of work is done, of the preferred stream if it has any that may start. So work that was not told to
 * wait sees memory as a GPU at its most unfortunate would show it.
 */
#include "prototypes.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CUctx_st { int device; };
struct CUevent_st { int number; unsigned long recorded, done; };
struct CUmod_st { int number; };

typedef struct work {
  void (*run)(void *);
  void *data;
  CUevent event; /* to wait for where run is NULL and `waits`, to reach otherwise */
  int waits;
  unsigned long ticket;
  struct work *next;
} work;
struct CUstream_st { int number; work *first, *last; struct CUstream_st *next; };

/* A kernel takes one struct. */
typedef struct { unsigned grid[3], block[3]; const void *argument; } launch;
struct CUfunc_st {
  const char *name;
  int parameters;
  size_t size;
  void (*run)(launch *);
};

typedef struct memory { CUdeviceptr address; size_t bytes; int host; struct memory *next; } memory;

#define ILLEGAL_ADDRESS 700
static struct CUctx_st context;
static CUcontext current;
static CUstream streams;
static memory *held;
static size_t total, in_use;
static int initialised, streams_made, events_made, modules_made, capability, version, devices, prefer_last, lost;
static pthread_t thread;
static char record[1 << 20];
static size_t recorded;
static char failing[64];
static int failing_after, failing_status;
static struct { const char *what; int number; } counts[] = {
  {"device", 0}, {"host", 0}, {"streams", 0}, {"events", 0}, {"modules", 0}, {"contexts", 0}, {"cublas", 0}};

/* ---- what the tests say and ask ---- */

/* At loading, too. What a lost GPU kept from being given back is forgotten. */
__attribute__((constructor)) void stub_reset(void) {
  recorded = 0;
  record[0] = failing[0] = 0;
  total = (size_t)1 << 30;
  in_use = 0;
  held = NULL;
  streams = NULL;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) counts[i].number = 0;
  capability = 90;
  version = 12090;
  devices = 1;
  initialised = prefer_last = lost = streams_made = events_made = modules_made = 0;
  current = NULL;
  thread = pthread_self();
}

void stub_set(int new_capability, int new_version, int new_devices, int new_prefer_last) {
  capability = new_capability;
  version = new_version;
  devices = new_devices;
  prefer_last = new_prefer_last;
}

void stub_set_total(size_t bytes) { total = bytes; }
void stub_forget(void) { recorded = 0; record[0] = 0; }
const char *stub_calls(void) { return record; }
/* Somebody else of the process takes the thread. */
void stub_steal_context(void) { current = NULL; }

void stub_fail(const char *name, int after, int status) {
  snprintf(failing, sizeof failing, "%s", name);
  failing_after = after;
  failing_status = status;
}

const char *stub_live(void) {
  static char text[256];
  text[0] = 0;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    if (counts[i].number != 0)
      snprintf(text + strlen(text), sizeof text - strlen(text), "%s %d ", counts[i].what, counts[i].number);
  return text;
}

/* ---- what the stubs share ---- */

void stub_log(const char *format, ...) {
  va_list args;
  va_start(args, format);
  recorded += vsnprintf(record + recorded, sizeof record - recorded, format, args);
  va_end(args);
  if (recorded + 2 >= sizeof record) abort();
  record[recorded++] = '\n';
  record[recorded] = 0;
}

void stub_count(const char *what, int more) {
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    if (strcmp(counts[i].what, what) == 0) { counts[i].number += more; return; }
  abort();
}

void stub_lose(int status) { if (lost == 0) lost = status; }

static int needs_context(const char *name) {
  return strncmp(name, "cuDevice", 8) != 0 && strcmp(name, "cuInit") != 0 && strcmp(name, "cuDriverGetVersion") != 0 &&
         strcmp(name, "cuCtxSetCurrent") != 0;
}

int stub_enter(const char *name) {
  if (!pthread_equal(thread, pthread_self())) { stub_log("%s from another thread", name); return 999; }
  if (lost != 0) return lost;
  if (failing[0] != 0 && strcmp(failing, name) == 0 && failing_after-- == 0) {
    failing[0] = 0;
    if (failing_status >= 700) lost = failing_status;
    return failing_status;
  }
  if (!initialised && strcmp(name, "cuInit") != 0) return 3;
  if (needs_context(name) && current == NULL) return 201;
  return 0;
}
#define ENTER(name) do { int status_ = stub_enter(name); if (status_ != 0) return (CUresult)status_; } while (0)

int stub_holds(CUdeviceptr address, size_t bytes) {
  for (memory *m = held; m != NULL; m = m->next)
    if (!m->host && address >= m->address && address + bytes <= m->address + m->bytes) return 1;
  return 0;
}

static int pinned(const void *address, size_t bytes) {
  CUdeviceptr start = (CUdeviceptr)address;
  for (memory *m = held; m != NULL; m = m->next)
    if (m->host && start >= m->address && start + bytes <= m->address + m->bytes) return 1;
  return 0;
}

/* ---- streams and events ---- */

static void append(CUstream stream, work item) {
  work *copy = malloc(sizeof *copy);
  *copy = item;
  copy->next = NULL;
  if (stream->last != NULL) stream->last->next = copy; else stream->first = copy;
  stream->last = copy;
}

void stub_enqueue(CUstream stream, void (*run)(void *), void *data) {
  append(stream, (work){.run = run, .data = data});
}

static int advance(CUstream stream) {
  work *item = stream->first;
  if (item == NULL || (item->waits && item->event->done < item->ticket)) return 0;
  if (item->run != NULL) { item->run(item->data); free(item->data); }
  else if (!item->waits && item->event->done < item->ticket) item->event->done = item->ticket;
  stream->first = item->next;
  if (stream->first == NULL) stream->last = NULL;
  free(item);
  return 1;
}

/* The list begins with the stream made last. */
static int advance_any(CUstream stream, int last_first) {
  if (stream == NULL) return 0;
  return last_first ? advance(stream) || advance_any(stream->next, 1) : advance_any(stream->next, 0) || advance(stream);
}

static void drain(void) { while (advance_any(streams, prefer_last)) {} }

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  ENTER("cuStreamCreate");
  *stream = calloc(1, sizeof **stream);
  (*stream)->number = streams_made++;
  (*stream)->next = streams;
  streams = *stream;
  stub_count("streams", 1);
  stub_log("cuStreamCreate S%d flags %u", (*stream)->number, flags);
  return 0;
}

CUresult cuStreamSynchronize(CUstream stream) {
  ENTER("cuStreamSynchronize");
  stub_log("cuStreamSynchronize S%d", stream->number);
  drain();
  return (CUresult)lost;
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  ENTER("cuStreamDestroy_v2");
  drain();
  for (CUstream *at = &streams; *at != NULL; at = &(*at)->next)
    if (*at == stream) { *at = stream->next; break; }
  stub_log("cuStreamDestroy_v2 S%d", stream->number);
  free(stream);
  stub_count("streams", -1);
  return 0;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
  ENTER("cuStreamWaitEvent");
  stub_log("cuStreamWaitEvent S%d E%d flags %u", stream->number, event->number, flags);
  append(stream, (work){.event = event, .waits = 1, .ticket = event->recorded});
  return 0;
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
  ENTER("cuEventCreate");
  *event = calloc(1, sizeof **event);
  (*event)->number = events_made++;
  stub_count("events", 1);
  stub_log("cuEventCreate E%d flags %u", (*event)->number, flags);
  return 0;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  ENTER("cuEventRecord");
  stub_log("cuEventRecord E%d S%d", event->number, stream->number);
  append(stream, (work){.event = event, .ticket = ++event->recorded});
  return 0;
}

CUresult cuEventQuery(CUevent event) {
  ENTER("cuEventQuery");
  if (event->done >= event->recorded) return 0;
  advance_any(streams, prefer_last);
  return (CUresult)(lost != 0 ? lost : 600);
}

CUresult cuEventDestroy_v2(CUevent event) {
  ENTER("cuEventDestroy_v2");
  free(event);
  stub_count("events", -1);
  return 0;
}

/* ---- the device and its context ---- */

CUresult cuInit(unsigned int flags) {
  int status = stub_enter("cuInit");
  if (status != 0) return (CUresult)status;
  stub_log("cuInit %u", flags);
  initialised = 1;
  return (CUresult)(devices == 0 ? 100 : 0);
}
CUresult cuDriverGetVersion(int *out) { ENTER("cuDriverGetVersion"); *out = version; return 0; }
CUresult cuDeviceGetCount(int *out) { ENTER("cuDeviceGetCount"); *out = devices; return 0; }
CUresult cuDeviceGet(CUdevice *out, int ordinal) {
  ENTER("cuDeviceGet");
  if (ordinal >= devices) return 101;
  *out = 40 + ordinal;
  return 0;
}
CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  ENTER("cuDeviceGetName");
  snprintf(name, length, "Stub %d", device);
  return 0;
}
CUresult cuDeviceGetAttribute(int *out, CUdevice_attribute attribute, CUdevice device) {
  ENTER("cuDeviceGetAttribute");
  if (attribute != 75 && attribute != 76) return 1;
  *out = attribute == 75 ? capability / 10 : capability % 10;
  return 0;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device) {
  ENTER("cuDevicePrimaryCtxRetain");
  context.device = device;
  *out = &context;
  stub_count("contexts", 1);
  stub_log("cuDevicePrimaryCtxRetain %d", device);
  return 0;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  ENTER("cuDevicePrimaryCtxRelease_v2");
  stub_count("contexts", -1);
  stub_log("cuDevicePrimaryCtxRelease_v2 %d", device);
  return 0;
}
CUresult cuCtxSetCurrent(CUcontext wanted) { ENTER("cuCtxSetCurrent"); current = wanted; return 0; }

CUresult cuGetErrorName(CUresult code, const char **out) {
  int known = code == 0 || code == 1 || code == 2 || code == 100 || code == 200 || code == 700 || code == 719;
  static char text[32];
  snprintf(text, sizeof text, "CUDA_ERROR_%d", (int)code);
  *out = known ? text : NULL;
  return known ? 0 : 1;
}
CUresult cuGetErrorString(CUresult code, const char **out) {
  static char text[32];
  snprintf(text, sizeof text, "words of %d", (int)code);
  *out = text;
  return 0;
}

/* ---- memory ---- */

static CUresult take(CUdeviceptr *out, size_t bytes, int host) {
  if (bytes == 0) return 1;
  if (!host && in_use + bytes > total) return 2;
  memory *m = malloc(sizeof *m);
  *m = (memory){.address = (CUdeviceptr)malloc(bytes), .bytes = bytes, .host = host, .next = held};
  memset((void *)m->address, 0xAB, bytes);
  held = m;
  if (!host) in_use += bytes;
  stub_count(host ? "host" : "device", 1);
  *out = m->address;
  return 0;
}

static CUresult give(CUdeviceptr address, int host) {
  drain();
  for (memory **at = &held; *at != NULL; at = &(*at)->next) {
    memory *m = *at;
    if (m->address != address || m->host != host) continue;
    *at = m->next;
    if (!host) in_use -= m->bytes;
    free((void *)m->address);
    free(m);
    stub_count(host ? "host" : "device", -1);
    return 0;
  }
  return 1;
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *all) {
  ENTER("cuMemGetInfo_v2");
  *free_bytes = total - in_use;
  *all = total;
  return 0;
}
CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) {
  ENTER("cuMemAlloc_v2");
  stub_log("cuMemAlloc_v2 %zu", bytes);
  return take(out, bytes, 0);
}
CUresult cuMemFree_v2(CUdeviceptr address) { ENTER("cuMemFree_v2"); return give(address, 0); }
CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned int flags) {
  ENTER("cuMemHostAlloc");
  stub_log("cuMemHostAlloc %zu flags %u", bytes, flags);
  return take((CUdeviceptr *)out, bytes, 1);
}
CUresult cuMemFreeHost(void *address) { ENTER("cuMemFreeHost"); return give((CUdeviceptr)address, 1); }

typedef struct { void *to; const void *from; size_t bytes; int fill; } transfer;
static void run_transfer(void *data) {
  transfer *t = data;
  if (t->from == NULL) memset(t->to, t->fill, t->bytes); else memmove(t->to, t->from, t->bytes);
}
static CUresult start(CUstream stream, transfer t, int valid) {
  if (!valid) { stub_lose(ILLEGAL_ADDRESS); return ILLEGAL_ADDRESS; }
  transfer *copy = malloc(sizeof *copy);
  *copy = t;
  stub_enqueue(stream, run_transfer, copy);
  return 0;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  ENTER("cuMemcpyHtoDAsync_v2");
  stub_log("cuMemcpyHtoDAsync_v2 %zu S%d", bytes, stream->number);
  return start(stream, (transfer){(void *)to, from, bytes, 0}, stub_holds(to, bytes) && pinned(from, bytes));
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  ENTER("cuMemcpyDtoHAsync_v2");
  stub_log("cuMemcpyDtoHAsync_v2 %zu S%d", bytes, stream->number);
  return start(stream, (transfer){to, (void *)from, bytes, 0}, stub_holds(from, bytes) && pinned(to, bytes));
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  ENTER("cuMemcpyDtoDAsync_v2");
  stub_log("cuMemcpyDtoDAsync_v2 %zu S%d", bytes, stream->number);
  return start(stream, (transfer){(void *)to, (void *)from, bytes, 0}, stub_holds(to, bytes) && stub_holds(from, bytes));
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  ENTER("cuMemsetD8Async");
  stub_log("cuMemsetD8Async %d %zu S%d", value, bytes, stream->number);
  return start(stream, (transfer){(void *)to, NULL, bytes, value}, stub_holds(to, bytes));
}

/* ---- kernels ---- */

/* y [n] += a x [n] */
typedef struct { float *y; const float *x; long long n; float a; } saxpy_arguments;
static void saxpy(launch *l) {
  const saxpy_arguments *a = l->argument;
  for (long long i = 0; i < a->n; i++) a->y[i] += a->a * a->x[i];
}
/* Its argument, bit by bit, and the shape of its launch. */
typedef struct { unsigned char *out; int i; long long l; float f; } echo_arguments;
static void echo(launch *l) {
  const echo_arguments *a = l->argument;
  memcpy(a->out, &a->i, 4);
  memcpy(a->out + 4, &a->l, 8);
  memcpy(a->out + 12, &a->f, 4);
  memcpy(a->out + 16, &a->out, 8);
  memcpy(a->out + 24, l->grid, 12);
  memcpy(a->out + 36, l->block, 12);
}
/* What doctor has a GPU compute. */
static void answer(launch *l) { **(int *const *)l->argument = 42; }
static struct CUfunc_st kernels[] = {
  {"saxpy", 1, sizeof(saxpy_arguments), saxpy},
  {"echo", 1, sizeof(echo_arguments), echo},
  {"answer", 1, sizeof(int *), answer},
  {"two", 2, sizeof(saxpy_arguments), saxpy},
};

CUresult cuModuleLoadData(CUmodule *out, const void *image) {
  ENTER("cuModuleLoadData");
  int architecture = 0;
  int machine = sscanf(image, "CUBIN sm_%d", &architecture) == 1 && architecture == capability;
  int portable = sscanf(image, "PTX compute_%d", &architecture) == 1 && architecture <= capability;
  if (!machine && !portable) return 200;
  stub_log("cuModuleLoadData %s %d", machine ? "CUBIN" : "PTX", architecture);
  *out = calloc(1, sizeof **out);
  stub_count("modules", 1);
  return 0;
}
CUresult cuModuleUnload(CUmodule module) {
  ENTER("cuModuleUnload");
  free(module);
  stub_count("modules", -1);
  return 0;
}
CUresult cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name) {
  ENTER("cuModuleGetFunction");
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
    if (strcmp(kernels[i].name, name) != 0) continue;
    *out = &kernels[i];
    return 0;
  }
  return 500;
}
#ifndef OLD_DRIVER
CUresult cuFuncGetParamInfo(CUfunction f, size_t index, size_t *offset, size_t *size) {
  ENTER("cuFuncGetParamInfo");
  if ((int)index >= f->parameters) return 1;
  *offset = f->size * index;
  *size = f->size;
  return 0;
}
#endif

typedef struct { launch shape; CUfunction function; long long argument[8]; } started;
static void run_kernel(void *data) {
  started *s = data;
  s->shape.argument = s->argument;
  s->function->run(&s->shape);
}
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void **params, void **extra) {
  ENTER("cuLaunchKernel");
  stub_log("cuLaunchKernel %s (%u %u %u) (%u %u %u) shared %u S%d", f->name, gx, gy, gz, bx, by, bz, shared, stream->number);
  if (gx == 0 || gy == 0 || bx == 0 || bx > 1024 || shared > 48 * 1024 || extra != NULL) return 1;
  started *s = malloc(sizeof *s);
  *s = (started){.shape = {{gx, gy, gz}, {bx, by, bz}, NULL}, .function = f};
  /* As the driver does, before it returns. */
  memcpy(s->argument, params[0], f->size);
  stub_enqueue(stream, run_kernel, s);
  return 0;
}
