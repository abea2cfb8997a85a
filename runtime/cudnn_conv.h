// GPU-independent parts of a cuDNN convolution, exposed for tests: descriptors, engine selection, workspace.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/conv.h"
#include "runtime/cudnn_library.h"

namespace glow::cuda {

// Workspace limit for every engine; fixed, so that memory planning needs no GPU.
inline constexpr std::size_t kConvWorkspace = std::size_t{64} << 20;
inline constexpr std::size_t kConvAlignment = 256;

// A descriptor of the graph API with its attributes.
class CudnnDescriptor {
  public:
    CudnnDescriptor(const Cudnn& cudnn, cudnnBackendDescriptorType_t type);
    ~CudnnDescriptor();
    CudnnDescriptor(CudnnDescriptor&& other) noexcept;
    CudnnDescriptor& operator=(CudnnDescriptor&&) = delete;

    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, index_t count,
             const void* values);
    void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& other);
    void set(cudnnBackendAttributeName_t name, const std::vector<index_t>& values);
    void set_data_type(cudnnBackendAttributeName_t name, cudnnDataType_t type);
    // Reads at most `most` numbers of an attribute.
    template <class T>
    std::vector<T> get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                       index_t most) const {
        std::vector<T> values(static_cast<std::size_t>(most));
        values.resize(static_cast<std::size_t>(get(name, type, most, values.data())));
        return values;
    }
    index_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, index_t most,
                void* values) const;
    // Throws Error if the library rejects it; try_finalize() returns false instead.
    void finalize();
    bool try_finalize();

    cudnnBackendDescriptor_t handle() const { return handle_; }

  private:
    const Cudnn* cudnn_;
    cudnnBackendDescriptor_t handle_ = nullptr;
};

// cuDNN's description of a convolution: three tensors, each with the id under which its pointer is passed,
// the operation, and the operation graph. For bf16 operands cuDNN has engines with float results only if the
// sums are a virtual tensor that a second operation, the identity, stores; those engines use the tensor cores
// in every pass and are compiled by NVRTC at first use.
struct ConvDescription {
    static constexpr index_t kX = 1, kW = 2, kY = 3;  // or their gradients
    ConvDescription(const Cudnn& cudnn, const Convolution& convolution);
    CudnnDescriptor x, w, y, window;
    std::optional<CudnnDescriptor> sums;
    CudnnDescriptor operation;
    std::optional<CudnnDescriptor> identity;
    // Not finalized: that needs the handle of the device that runs it.
    CudnnDescriptor graph;
};

// An engine that cuDNN's heuristics name for a graph, best first.
struct OfferedEngine {
    index_t number;
    std::vector<cudnnBackendNumericalNote_t> notes;
    CudnnDescriptor configuration;
};
// device: a description of an absent device (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR); nullptr: the handle's.
// problem: the library's message if it offers no engine.
std::vector<OfferedEngine> offered_engines(const Cudnn& cudnn, const CudnnDescriptor& graph,
                                           const CudnnDescriptor* device, std::string& problem);

// Alignment of a tensor's address in bytes: operands start at pixels in arena blocks.
index_t pixel_alignment(cudnnDataType_t type, index_t channels);

// Whether an engine with these notes may be used. Excludes nondeterministic engines and, for float operands,
// rounded operands or sums and transforms that lose precision.
bool engine_allowed(Scalar operands, const std::vector<cudnnBackendNumericalNote_t>& notes);

}  // namespace glow::cuda
