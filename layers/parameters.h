// The model's tensors by checkpoint name (docs/formats.md). Trainable tensors share one flat array of `real`,
// so that the optimizer is one pass; fixed ones (permutations, signs) share another. Layers hold handles, and
// the arrays behind them can be exchanged (raw weights, EMA).
#pragma once

#include <string>
#include <vector>

#include "kernels/base.h"
#include "runtime/solver.h"

namespace glow::inline GLOW_REAL {

enum class Init {
    zeros,
    normal,      // N(0, 0.05^2)
    orthogonal,  // a random orthogonal matrix
    shuffled,    // a random permutation of 0 .. n - 1
    lu           // part of the factors of a random orthogonal matrix: see add_lu
};

struct Tensor {
    std::string name;  // without the leading /params/
    std::vector<index_t> shape;
    Init init;
    index_t offset, count;  // elements of the flat array
    bool trainable = true;
    bool integer = false;  // int32 in checkpoints, whole numbers in memory

    // Every tensor starts at a multiple of 16 elements; the gap after it holds zeros.
    static constexpr index_t kAlignedElements = 16;
    index_t padded_count() const { return round_up(count, kAlignedElements); }
};

// Names of layers; the names of their tensors start with them.
std::string step_name(index_t level, index_t step);  // "level0/step3"
std::string split_name(index_t level);               // "level0/split"
std::string dequantizer_step_name(index_t step);     // "dequantizer/step0"

class Parameters;

// Destination of parameter gradients: an array laid out like the flat one, starting at element `first`.
// Backward adds to it.
struct ParameterGradients {
    real* values = nullptr;
    index_t first = 0;
};

// A layer's handle to one tensor.
class Parameter {
  public:
    Parameter() = default;
    Parameter(const Parameters* all, index_t offset, bool trainable = true)
        : all_(all), offset_(offset), trainable_(trainable) {}
    inline real* value() const;
    real* gradient(const ParameterGradients& all) const { return all.values + (offset_ - all.first); }
    index_t offset() const { return offset_; }

  private:
    const Parameters* all_ = nullptr;
    index_t offset_ = 0;
    bool trainable_ = true;
};

class Parameters {
  public:
    Parameter add(std::string name, std::vector<index_t> shape, Init init);
    Parameter add_fixed(std::string name, std::vector<index_t> shape, Init init, bool integer);
    // The factors of W = P (L + I) (U + diag(sign exp(log_diag))), [C, C]: name/{permutation,sign} fixed,
    // name/{log_diag,lower,upper} trainable. Initialized to those of a random orthogonal matrix.
    struct Lu {
        Parameter permutation, sign, log_diag, lower, upper;
    };
    Lu add_lu(const std::string& name, index_t C);

    // Initializes the tensors added so far from random numbers of their own, so that the tensors added later
    // get the same initial values as in a model without them.
    void begin_separate_stream() { separate_tensors_ = tensors_.size(); }

    // Elements of the flat array, including gaps.
    index_t size() const { return size_; }
    index_t fixed_size() const { return fixed_size_; }
    // Trainable scalars, excluding gaps.
    index_t count() const;
    const std::vector<Tensor>& tensors() const { return tensors_; }  // trainable
    const std::vector<Tensor>& fixed_tensors() const { return fixed_tensors_; }

    // Sets the array of size() elements that the handles refer to.
    void bind(real* values) { values_ = values; }
    // Sets the array of fixed_size() elements.
    void bind_fixed(real* values) { fixed_ = values; }
    real* values() const { return values_; }
    real* fixed() const { return fixed_; }

    // Writes initial values of every tensor, computed in double on the host from Philox (seed, tensor
    // number), equal for every device. Tensors with a separate stream are numbered separately. Overwrites all
    // size() and fixed_size() elements.
    void initialize(std::uint64_t seed, Solver& solver) const;

  private:
    void initialize_lu(std::uint64_t seed, std::uint64_t number, const Lu& lu, index_t C,
                       Solver& solver) const;

    struct LuGroup {
        Lu parts;
        index_t C;
        std::size_t number;  // index of its first trainable tensor, without those of a separate stream
    };
    std::vector<Tensor> tensors_, fixed_tensors_;
    std::vector<LuGroup> lus_;
    std::size_t separate_tensors_ = 0;  // number of tensors with a separate stream
    index_t size_ = 0, fixed_size_ = 0;
    real* values_ = nullptr;
    real* fixed_ = nullptr;
};

real* Parameter::value() const {
    return (trainable_ ? all_->values() : all_->fixed()) + offset_;
}

}  // namespace glow::inline GLOW_REAL
