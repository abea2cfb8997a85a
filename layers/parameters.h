// The model's trainable tensors: one flat array of `real`, so that the optimiser is one pass, addressed by
// the names of the checkpoint (spec section 3). Layers hold handles; the arrays behind them can be exchanged
// (raw weights, EMA).
#pragma once

#include <string>
#include <vector>

#include "kernels/base.h"
#include "runtime/solver.h"

namespace glow::inline GLOW_REAL {

enum class Start { zeros, normal, orthogonal };  // zeros; N(0, 0.05^2); a random orthogonal matrix

struct Tensor {
    std::string name;  // without the leading /params/
    std::vector<index_t> shape;
    Start start;
    index_t offset, count;  // elements of the flat array
};

class Parameters;

// A layer's handle on one tensor.
class Parameter {
  public:
    Parameter() = default;
    Parameter(const Parameters* all, index_t offset) : all_(all), offset_(offset) {}
    inline real* value() const;
    inline real* gradient() const;

  private:
    const Parameters* all_ = nullptr;
    index_t offset_ = 0;
};

class Parameters {
  public:
    Parameter add(std::string name, std::vector<index_t> shape, Start start);

    // Elements of the flat array: every tensor starts at a multiple of 16; the gaps hold zeros for ever.
    index_t size() const { return size_; }
    // Trainable scalars, gaps not counted.
    index_t count() const;
    const std::vector<Tensor>& tensors() const { return tensors_; }

    // Arrays of size() elements that the handles refer to from now on. Gradients may be nullptr where none
    // are computed.
    void bind(real* values, real* gradients) {
        values_ = values;
        gradients_ = gradients;
    }
    real* values() const { return values_; }
    real* gradients() const { return gradients_; }

    // Initial values of every tensor, made in double on the host from Philox (seed, tensor number): equal on
    // every device. Overwrites all size() elements.
    void start(std::uint64_t seed, Solver& solver) const;

  private:
    std::vector<Tensor> tensors_;
    index_t size_ = 0;
    real* values_ = nullptr;
    real* gradients_ = nullptr;
};

real* Parameter::value() const {
    return all_->values() + offset_;
}
real* Parameter::gradient() const {
    return all_->gradients() + offset_;
}

}  // namespace glow::inline GLOW_REAL
