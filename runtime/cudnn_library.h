// Loads cuDNN at run time, so that the same programs run on machines without it. Only the graph API is used,
// because it alone supports float results of bf16 operands.
#pragma once

#include <cudnn.h>

#include <memory>
#include <string>

namespace glow::cuda {

// The cuDNN 9 functions in use.
struct Cudnn {
    decltype(&cudnnGetVersion) version;
    decltype(&cudnnGetErrorString) error_string;
    decltype(&cudnnGetLastErrorString) last_error_string;
    decltype(&cudnnCreate) create;
    decltype(&cudnnDestroy) destroy;
    decltype(&cudnnSetStream) set_stream;
    decltype(&cudnnBackendCreateDescriptor) create_descriptor;
    decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor;
    decltype(&cudnnBackendSetAttribute) set_attribute;
    decltype(&cudnnBackendGetAttribute) get_attribute;
    decltype(&cudnnBackendFinalize) finalize;
    decltype(&cudnnBackendExecute) execute;
};

// Returns nullptr, and the reason in `problem`, if the library is missing or not cuDNN 9.
std::shared_ptr<const Cudnn> load_cudnn(std::string& problem);

}  // namespace glow::cuda
