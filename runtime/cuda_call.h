// Shared by the CUDA part of the runtime: the macro that checks vendor calls, and RAII owners of vendor
// handles. Include only in cuda*.cpp, cudnn_conv.cpp and nccl_communicator.cpp.
#pragma once

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>

#include <utility>

#include "kernels/base.h"

// Throws Error with the call's text, file, line, and the library's error name.
#define GLOW_CUDA(call) ::glow::cuda::check((call), #call, __FILE__, __LINE__)

namespace glow::cuda {

void check(cudaError_t status, const char* call, const char* file, int line);
void check(cublasStatus_t status, const char* call, const char* file, int line);
void check(cusolverStatus_t status, const char* call, const char* file, int line);

inline cudaStream_t stream_of(const Exec& exec) {
    return static_cast<cudaStream_t>(exec.stream);
}

// RAII owner of a vendor handle. Errors on destruction are ignored.
template <class T, auto kDestroy>
class Handle {
  public:
    Handle() = default;
    explicit Handle(T value) : value_(value) {}
    ~Handle() { reset(); }
    Handle(Handle&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    // For functions that make a handle: GLOW_CUDA(cublasCreate(handle.out())).
    T* out() {
        reset();
        return &value_;
    }
    // Gives the handle up to the caller.
    T release() { return std::exchange(value_, nullptr); }
    operator T() const { return value_; }
    explicit operator bool() const { return value_ != nullptr; }

  private:
    void reset() {
        if (value_ != nullptr) static_cast<void>(kDestroy(value_));
        value_ = nullptr;
    }
    T value_ = nullptr;
};

using StreamHandle = Handle<cudaStream_t, cudaStreamDestroy>;
using EventHandle = Handle<cudaEvent_t, cudaEventDestroy>;
using GraphExecHandle = Handle<cudaGraphExec_t, cudaGraphExecDestroy>;
using GraphHandle = Handle<cudaGraph_t, cudaGraphDestroy>;
using LtHandle = Handle<cublasLtHandle_t, cublasLtDestroy>;
using LtDescription = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using LtLayout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using LtPreference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;
using BlasHandle = Handle<cublasHandle_t, cublasDestroy>;
using SolverOptions = Handle<cusolverDnParams_t, cusolverDnDestroyParams>;
using SolverHandle = Handle<cusolverDnHandle_t, cusolverDnDestroy>;

}  // namespace glow::cuda
