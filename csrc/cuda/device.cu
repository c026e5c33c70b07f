// What Python asks about CUDA itself.
#include "launch.h"

extern "C" int pcsr_cuda_devices(int* count) {
    *count = 0;
    const cudaError_t error = cudaGetDeviceCount(count);
    cudaGetLastError();
    return error;
}

extern "C" const char* pcsr_cuda_message(int error) {
    return cudaGetErrorString(static_cast<cudaError_t>(error));
}

extern "C" const char* pcsr_cuda_device_type() {
#ifdef __CUDACC__
    return "cuda";
#else
    return "cpu";
#endif
}
