#include "kernels/cuda_error.h"

namespace glow {
namespace {

std::string message(const char* call, int code, const char* name, const char* file, int line) {
    return std::string(file) + ":" + std::to_string(line) + ": " + call + " failed: " + name + " (" +
           std::to_string(code) + ")";
}

const char* advice_for(int code) {
    switch (code) {
        case 214:  // cudaErrorECCUncorrectable
        case 220:  // cudaErrorNvlinkUncorrectable
        case 226:  // cudaErrorContained
            return "; the GPU is faulty or must be reset (nvidia-smi -q -d ECC): continue from the last "
                   "checkpoint on another one";
        case 700:  // cudaErrorIllegalAddress
        case 714:  // cudaErrorHardwareStackError
        case 715:  // cudaErrorIllegalInstruction
        case 716:  // cudaErrorMisalignedAddress
        case 717:  // cudaErrorInvalidAddressSpace
        case 718:  // cudaErrorInvalidPc
        case 719:  // cudaErrorLaunchFailure
            return "; an earlier kernel failed: with CUDA_LAUNCH_BLOCKING=1 and without the CUDA graph "
                   "(--no-graph) the message names it";
        default:
            return "";
    }
}

}  // namespace

void throw_cuda_error(const char* call, int code, const char* name, const char* file, int line) {
    throw Error(message(call, code, name, file, line));
}

void throw_runtime_error(const char* call, int code, const char* name, const char* file, int line) {
    throw Error(message(call, code, name, file, line) + advice_for(code));
}

void throw_launch_error(const char* kernel, int code, const char* name, const char* file, int line) {
    constexpr int kMemoryAllocation = 2;  // cudaErrorMemoryAllocation
    if (code == kMemoryAllocation)
        throw InputError(std::string("the GPU has no memory left for the code of kernel ") + kernel +
                         "; nvidia-smi lists the programs that use it");
    throw_runtime_error(kernel, code, name, file, line);
}

}  // namespace glow
