// The parts of a cuDNN convolution that need no GPU, for tests: descriptors, the rule for engines, workspace.
#pragma once

#include <vector>

#include "runtime/conv.h"
#include "runtime/cudnn_library.h"

namespace glow::cuda {

// Bytes that any engine may use, fixed, so that a memory plan needs no GPU.
inline constexpr std::size_t kConvWorkspace = std::size_t{64} << 20;
inline constexpr std::size_t kConvAlignment = 256;

// A descriptor of the graph API and its attributes.
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
    // The numbers of an attribute, `most` at most.
    template <class T>
    std::vector<T> get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                       index_t most) const {
        std::vector<T> values(static_cast<std::size_t>(most));
        values.resize(static_cast<std::size_t>(get(name, type, most, values.data())));
        return values;
    }
    index_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, index_t most,
                void* values) const;
    // Throws Error where the library refuses it; the second says so.
    void finalize();
    bool try_finalize();

    cudnnBackendDescriptor_t handle() const { return handle_; }

  private:
    const Cudnn* cudnn_;
    cudnnBackendDescriptor_t handle_ = nullptr;
};

// All that cuDNN is told of a convolution: three tensors, each with the number that the pointers are given
// by, and the operation.
struct ConvDescription {
    static constexpr index_t kX = 1, kW = 2, kY = 3;  // or their gradients
    ConvDescription(const Cudnn& cudnn, const Convolution& convolution);
    CudnnDescriptor x, w, y, window, operation;
};

// Bytes that a tensor's address is a multiple of: operands begin at pixels of blocks of arenas.
index_t pixel_alignment(cudnnDataType_t type, index_t channels);

// May an engine with these notes run products of such operands? Not if its results need not repeat; float
// products only without rounded operands or sums, and without transforms that lose digits.
bool engine_allowed(Scalar operands, const std::vector<cudnnBackendNumericalNote_t>& notes);

}  // namespace glow::cuda
