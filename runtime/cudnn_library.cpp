#include "runtime/cudnn_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace glow::cuda {
namespace {

constexpr const char* kFile = "libcudnn.so.9";
// Opened by kFile at its first call, which aborts the process if it cannot (incomplete installation, no
// libz).
constexpr const char* kInner = "libcudnn_graph.so.9";

template <class F>
bool find(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
}

}  // namespace

std::shared_ptr<const Cudnn> load_cudnn(std::string& problem) {
    void* const library = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr || dlopen(kInner, RTLD_NOW | RTLD_LOCAL) == nullptr) {
        problem = dlerror();
        return nullptr;
    }
    // Never closed: vendor libraries may be needed until the process exits.
    auto cudnn = std::make_shared<Cudnn>();
    const bool whole = find(library, "cudnnGetVersion", cudnn->version) &&
                       find(library, "cudnnGetErrorString", cudnn->error_string) &&
                       find(library, "cudnnGetLastErrorString", cudnn->last_error_string) &&
                       find(library, "cudnnCreate", cudnn->create) &&
                       find(library, "cudnnDestroy", cudnn->destroy) &&
                       find(library, "cudnnSetStream", cudnn->set_stream) &&
                       find(library, "cudnnBackendCreateDescriptor", cudnn->create_descriptor) &&
                       find(library, "cudnnBackendDestroyDescriptor", cudnn->destroy_descriptor) &&
                       find(library, "cudnnBackendSetAttribute", cudnn->set_attribute) &&
                       find(library, "cudnnBackendGetAttribute", cudnn->get_attribute) &&
                       find(library, "cudnnBackendFinalize", cudnn->finalize) &&
                       find(library, "cudnnBackendExecute", cudnn->execute);
    if (whole && cudnn->version() / 10000 == 9) return cudnn;
    problem = fmt::format("{} is not cuDNN 9", kFile);
    return nullptr;
}

}  // namespace glow::cuda
