/* cuBLAS and cuBLASLt that multiply nothing and say what they were asked for: "product NAME compute TYPE mode MODE". */
#include <stddef.h>

extern void cuda_stub_log(const char *format, ...) __attribute__((weak));

static int handle, mode;

int cublasCreate_v2(void **made) {
  *made = &handle;
  return 0;
}
int cublasSetMathMode(void *h, int wanted) {
  mode = wanted;
  return 0;
}
int cublasGetMathMode(void *h, int *found) {
  *found = mode;
  return 0;
}
const char *cublasGetStatusName(int status) { return "stub"; }
const char *cublasGetStatusString(int status) { return "stub"; }

static int product(const char *name, int compute) {
  if (cuda_stub_log) cuda_stub_log("product %s compute %d mode %d\n", name, compute, mode);
  return 0;
}
/* Where the type is the function's, compute is 0. */
#define PRODUCT(name)                \
  int name(void) { return product(#name, 0); }
PRODUCT(cublasSgemm_v2)
PRODUCT(cublasDgemm_v2)
PRODUCT(cublasSgemmStridedBatched)
PRODUCT(cublasSgemmBatched)
PRODUCT(cublasLtMatmul)

int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int ta_, int lda,
                 const void *b, int tb_, int ldb, const void *beta, void *c, int tc, int ldc, int compute, int how) {
  return product("cublasGemmEx", compute);
}
int cublasGemmStridedBatchedEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int ta_,
                               int lda, long long sa, const void *b, int tb_, int ldb, long long sb, const void *beta,
                               void *c, int tc, int ldc, long long sc, int count, int compute, int how) {
  return product("cublasGemmStridedBatchedEx", compute);
}
int cublasGemmBatchedEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int ta_, int lda,
                        const void *b, int tb_, int ldb, const void *beta, void *c, int tc, int ldc, int count,
                        int compute, int how) {
  return product("cublasGemmBatchedEx", compute);
}

#define MADE(name)          \
  int name(void **made) {   \
    *made = &handle;        \
    return 0;               \
  }
MADE(cublasLtCreate)
MADE(cublasLtMatmulDescCreate)
MADE(cublasLtMatmulPreferenceCreate)
MADE(cublasLtMatrixLayoutCreate)
MADE(cublasLtMatrixTransformDescCreate)

int cublasLtMatmulAlgoGetHeuristic(void *h, void *d, void *a, void *b, void *c, void *e, void *p, int wanted, void *out,
                                   int *found) {
  *found = wanted > 0;
  return 0;
}
