/* cuDNN, which the provider looks for by name when an operator first wants it. */
#include <stddef.h>

static int handle;

size_t cudnnGetVersion(void) { return 92200; }
size_t cudnnGetCudartVersion(void) { return 13000; }
const char *cudnnGetErrorString(int status) { return "stub"; }
void cudnnGetLastErrorString(char *message, size_t bytes) { message[0] = 0; }
int cudnnCreate(void **made) {
  *made = &handle;
  return 0;
}
int cudnnGetStream(void *h, void **stream) {
  *stream = 0;
  return 0;
}
#define NOTHING(name) \
  int name(void) { return 0; }
NOTHING(cudnnDestroy)
NOTHING(cudnnSetStream)
NOTHING(cudnnSetTensorNdDescriptor)
NOTHING(cudnnSetTensor4dDescriptor)
NOTHING(cudnnSetReduceTensorDescriptor)
#define DESCRIPTOR(kind)                     \
  int cudnnCreate##kind(void **made) {       \
    *made = &handle;                         \
    return 0;                                \
  }                                          \
  NOTHING(cudnnDestroy##kind)
DESCRIPTOR(TensorDescriptor)
DESCRIPTOR(ReduceTensorDescriptor)
DESCRIPTOR(ActivationDescriptor)
DESCRIPTOR(ConvolutionDescriptor)
DESCRIPTOR(FilterDescriptor)
DESCRIPTOR(DropoutDescriptor)
DESCRIPTOR(LRNDescriptor)
DESCRIPTOR(PoolingDescriptor)
DESCRIPTOR(RNNDataDescriptor)
DESCRIPTOR(RNNDescriptor)
int cudnnGetReductionIndicesSize(void *h, void *r, void *a, void *c, size_t *bytes) {
  *bytes = 0;
  return 0;
}
int cudnnGetReductionWorkspaceSize(void *h, void *r, void *a, void *c, size_t *bytes) {
  *bytes = 1 << 20;
  return 0;
}
NOTHING(cudnnReduceTensor)
NOTHING(cudnnSoftmaxForward)
NOTHING(cudnnAddTensor)
NOTHING(cudnnActivationForward)
