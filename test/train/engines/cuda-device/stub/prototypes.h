/* The driver's functions that the device calls: from cuda.h where the toolkit has it, or else as it declares them. */
#ifdef HAVE_CUDA_H
#include <cuda.h>
#else
#include <stddef.h>
typedef int CUresult;
typedef int CUdevice;
typedef int CUdevice_attribute;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
#endif

/* What the stubs of cuBLAS and NVRTC use of the stub of the driver. */
int stub_enter(const char *name);
void stub_log(const char *format, ...);
void stub_count(const char *what, int more);
void stub_enqueue(CUstream stream, void (*run)(void *), void *data);
/* Does [address, address + bytes) lie in memory of the device? */
int stub_holds(CUdeviceptr address, size_t bytes);
void stub_lose(int status);
