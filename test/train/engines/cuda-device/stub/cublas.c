/* cublasGemmEx as cuBLAS defines it, column-major and by three loops, in the streams of the stub of the driver. */
#include "prototypes.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { CUstream stream; int mode; } handle;
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77, OP_N = 0, OP_T = 1, DEFAULT = -1 };

int cublasCreate_v2(handle **out) {
  int status = stub_enter("cublasCreate_v2");
  if (status != 0) return status;
  *out = calloc(1, sizeof **out);
  stub_count("cublas", 1);
  return 0;
}
int cublasDestroy_v2(handle *h) {
  int status = stub_enter("cublasDestroy_v2");
  if (status != 0) return status;
  free(h);
  stub_count("cublas", -1);
  return 0;
}
int cublasSetStream_v2(handle *h, CUstream stream) {
  int status = stub_enter("cublasSetStream_v2");
  h->stream = stream;
  return status;
}
int cublasSetMathMode(handle *h, int mode) {
  int status = stub_enter("cublasSetMathMode");
  stub_log("cublasSetMathMode %d", mode);
  h->mode = mode;
  return status;
}
const char *cublasGetStatusName(int status) { return status == 3 ? "CUBLAS_STATUS_ALLOC_FAILED" : "CUBLAS_STATUS_OTHER"; }

typedef struct {
  int ta, tb, m, n, k, a_type, lda, ldb, ldc, compute;
  float alpha, beta;
  CUdeviceptr a, b, c;
} gemm;

/* Element (row, column) of op(X), X column-major with leading dimension ld. */
static float element(CUdeviceptr x, int type, int compute, int transposed, int ld, int row, int column) {
  size_t at = transposed ? column + (size_t)row * ld : row + (size_t)column * ld;
  uint32_t bits;
  if (type == R_16BF) {
    bits = (uint32_t)((uint16_t *)x)[at] << 16;
  } else {
    memcpy(&bits, (float *)x + at, 4);
    /* TF32 has 10 bits after the point. */
    if (compute == COMPUTE_32F_FAST_TF32) bits = (bits + 0x1000) & ~UINT32_C(0x1FFF);
  }
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static void run_gemm(void *data) {
  gemm *g = data;
  float *c = (float *)g->c;
  for (int j = 0; j < g->n; j++)
    for (int i = 0; i < g->m; i++) {
      float sum = 0;
      for (int l = 0; l < g->k; l++)
        sum += element(g->a, g->a_type, g->compute, g->ta, g->lda, i, l) *
               element(g->b, g->a_type, g->compute, g->tb, g->ldb, l, j);
      float *at = c + i + (size_t)j * g->ldc;
      *at = g->alpha * sum + (g->beta == 0 ? 0 : g->beta * *at);
    }
}

int cublasGemmEx(handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda,
                 const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute,
                 int algorithm) {
  int status = stub_enter("cublasGemmEx");
  if (status != 0) return status;
  stub_log("cublasGemmEx %d %d %d %d compute %d types %d %d %d", m, n, k, algorithm, compute, a_type, b_type, c_type);
  int a_rows = ta == OP_N ? m : k, a_columns = ta == OP_N ? k : m;
  int b_rows = tb == OP_N ? k : n, b_columns = tb == OP_N ? n : k;
  size_t size = a_type == R_16BF ? 2 : 4;
  if (lda < a_rows || ldb < b_rows || ldc < m || a_type != b_type || c_type != R_32F || algorithm != DEFAULT) return 7;
  if (!stub_holds((CUdeviceptr)a, size * ((size_t)lda * (a_columns - 1) + a_rows)) ||
      !stub_holds((CUdeviceptr)b, size * ((size_t)ldb * (b_columns - 1) + b_rows)) ||
      !stub_holds((CUdeviceptr)c, 4 * ((size_t)ldc * (n - 1) + m))) {
    stub_lose(700);
    return 13;
  }
  gemm *g = malloc(sizeof *g);
  *g = (gemm){ta, tb, m, n, k, a_type, lda, ldb, ldc, compute, *(const float *)alpha, *(const float *)beta,
              (CUdeviceptr)a, (CUdeviceptr)b, (CUdeviceptr)c};
  stub_enqueue(h->stream, run_gemm, g);
  return 0;
}
