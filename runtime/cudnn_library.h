// cuDNN as it is found when the program runs, not when it is linked: a machine without it runs the same
// programs with one engine less. Of its interface only the graph API, which knows float results of bf16
// operands.
#pragma once

#include <cudnn.h>

#include <memory>
#include <string>

namespace glow::cuda {

// The functions of cuDNN 9 that are used.
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

// nullptr where the library is not there, or is no cuDNN 9; `problem` then says why.
std::shared_ptr<const Cudnn> load_cudnn(std::string& problem);

}  // namespace glow::cuda
