/* A compiler whose code is the source under a line that says for which card; `#error` in the source is an error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { char *source, *code; char log[256]; int portable; } program;
static const int architectures[] = {75, 80, 90};
static int compiled;

int stub_compiled(void) { return compiled; }

int nvrtcVersion(int *major, int *minor) { *major = 12; *minor = 9; return 0; }
int nvrtcGetNumSupportedArchs(int *count) { *count = 3; return 0; }
int nvrtcGetSupportedArchs(int *out) { memcpy(out, architectures, sizeof architectures); return 0; }

int nvrtcCreateProgram(program **out, const char *source, const char *name, int count, const char *const *headers,
                       const char *const *names) {
  *out = calloc(1, sizeof **out);
  (*out)->source = strdup(source);
  return 0;
}
int nvrtcDestroyProgram(program **p) {
  free((*p)->source);
  free((*p)->code);
  free(*p);
  *p = NULL;
  return 0;
}
int nvrtcCompileProgram(program *p, int count, const char *const *options) {
  /* Time enough for the event loop to show that it is not held up. */
  usleep(50000);
  const char *architecture = "--gpu-architecture=";
  if (count != 1 || strncmp(options[0], architecture, strlen(architecture)) != 0) return 5;
  if (strstr(p->source, "#error") != NULL) {
    snprintf(p->log, sizeof p->log, "kernels.cu(1): error: #error directive\n");
    return 6;
  }
  compiled++;
  const char *target = options[0] + strlen(architecture);
  p->portable = strncmp(target, "compute_", 8) == 0;
  size_t length = strlen(p->source) + 64;
  p->code = malloc(length);
  snprintf(p->code, length, "%s %s\n%s", p->portable ? "PTX" : "CUBIN", target, p->source);
  return 0;
}
int nvrtcGetProgramLogSize(program *p, size_t *size) { *size = strlen(p->log) + 1; return 0; }
int nvrtcGetProgramLog(program *p, char *log) { strcpy(log, p->log); return 0; }
static int size_of(program *p, size_t *size, int portable) {
  *size = p->portable == portable ? strlen(p->code) + 1 : 0;
  return 0;
}
static int copy_of(program *p, char *out, int portable) {
  if (p->portable != portable) return 3;
  strcpy(out, p->code);
  return 0;
}
int nvrtcGetCUBINSize(program *p, size_t *size) { return size_of(p, size, 0); }
int nvrtcGetCUBIN(program *p, char *out) { return copy_of(p, out, 0); }
int nvrtcGetPTXSize(program *p, size_t *size) { return size_of(p, size, 1); }
int nvrtcGetPTX(program *p, char *out) { return copy_of(p, out, 1); }
