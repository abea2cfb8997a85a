// The flow in integer arithmetic, for lossless compression by bits-back coding with the model's likelihood.
// Local bits-back coding (Ho et al. 2019, section 3.4) is applied to each layer, in the exact form with
// uniform coding of iFlow (Zhang et al. 2021).
//
// A state is an integer x that represents the cell [x, x + 1) 2^-kFractionBits. Every layer is a bijection of
// the states and the bits on a stack. encode() and decode() run it in opposite directions on integers only,
// so nothing is lost to rounding. Floating-point values (shifts, scales, means and standard deviations) only
// select the bijection. They come from networks with the same inputs in both directions, so they are equal if
// the build and the number of threads are the same.
//
//   pixels       pop the dequantization noise of a pixel: borrows log2(cells per bin) bits
//   scale s      x -> floor((R x + r) / S) with R/S = s; pop r (of R), push the remainder (of S): adds
//                log2(S/R) = -log2 s bits, the log-determinant
//   mixing       M = P L D U: two integer shears around such a scaling
//   shift        addition
//   latents      eps = (z - mean) / sigma by shift and scale, then push with standard normal frequencies
//
// An image therefore adds -log2 p(x + u) bits, where u is the popped noise: on average the value that
// glow_eval reports.
#pragma once

#include <cstdint>
#include <vector>

#include "inference/bit_stack.h"
#include "inference/loaded_model.h"
#include "layers/config.h"
#include "layers/glow.h"

namespace glow {

inline constexpr int kFractionBits = 18;  // of a state; 8-bit pixels leave 10 bits of noise

// s = R / S, both in 1 .. 2^24, one of them 2^24: relative error max(s, 1/s) 2^-25.
struct Ratio {
    std::int64_t R, S;
};
Ratio ratio_of(double s);
// x <-> floor((R x + r) / S), popping r and pushing the remainder. Throws InputError if |x| exceeds the range
// of states.
std::int64_t scale_up(BitStack& stack, const Ratio& ratio, std::int64_t x);
std::int64_t scale_back(BitStack& stack, const Ratio& ratio, std::int64_t y);

// A matrix [C, C] as integer factors P (I + L) D (I + U): y[rows[i]] = ((I + L) D (I + U) x)[i].
struct IntegerMixing {
    index_t C = 0;
    std::vector<std::int64_t> lower, upper;  // [C, C] strict triangles, times 2^24
    std::vector<Ratio> diagonal;             // [C] |D|
    std::vector<std::uint8_t> negative;      // [C] 1 if D is negative
    std::vector<index_t> rows;               // [C]
    std::vector<std::int64_t> shift;         // [C] in cells, added last

    // matrix [C, C], shift [C]. Throws InputError, with `name` in its message, if the matrix is too close to
    // singular for integer factors.
    static IntegerMixing of(index_t C, const double* matrix, const double* shift, const std::string& name);
    // x [C] in place.
    void forward(BitStack& stack, std::int64_t* x) const;
    void inverse(BitStack& stack, std::int64_t* x) const;

  private:
    mutable std::vector<std::int64_t> scratch_ = {};
};

// Codes an integer distributed like floor(eps 2^kFractionBits), eps standard normal: first its bucket, of
// width 1/32, by frequency, then its position in the bucket uniformly (4e-5 nats above the true entropy).
class NormalCode {
  public:
    NormalCode();
    void push(BitStack& stack, std::int64_t eps) const;
    std::int64_t pop(BitStack& stack) const;

  private:
    std::vector<std::uint32_t> first_;   // [kBuckets + 2] of 2^24: cumulative frequencies, the escape last
    std::vector<std::uint16_t> bucket_;  // first possible bucket for the leading 12 bits of a frequency
};

class LosslessCoder {
  public:
    // The model must be on the CPU (InputError otherwise) and outlive this object.
    explicit LosslessCoder(LoadedModel& model);

    // Encode images onto the stack and decode them. pixels [N, H, W, C] with n_bits each (low bits 0);
    // labels [N] for a conditional model, also encoded. N <= model.buffers().capacity, and decode() needs the
    // same N as encode().
    struct Borrowed {
        std::uint64_t bits = 0;  // how far the stack dropped below its start
    };
    Borrowed encode(BitStack& stack, index_t N, const std::uint8_t* pixels, const std::int32_t* labels);
    // Throws InputError if the stack does not contain such images.
    void decode(BitStack& stack, index_t N, std::uint8_t* pixels, std::int32_t* labels);

    const ModelConfig& config() const { return model_.glow().config(); }

  private:
    enum class CodingPass { forward, inverse };
    // Calls f(i) for every value: the inverse pops in the opposite order of forward's pushes.
    template <class F>
    static void for_each_value(CodingPass pass, index_t count, F f) {
        for (index_t i = 0; i < count; ++i) f(pass == CodingPass::forward ? i : count - 1 - i);
    }
    void couple(BitStack& stack, CodingPass pass, Glow::Level& level, Coupling& coupling, index_t N);
    // A latent z of density N(mean, exp(logs)).
    void code_latent(BitStack& stack, CodingPass pass, real mean, real logs, std::int64_t& z);
    void code_split(BitStack& stack, CodingPass pass, Glow::Level& level, index_t N);
    void code_top(BitStack& stack, CodingPass pass, index_t N, const std::int32_t* labels);
    // The states as network inputs: the centers of their cells.
    const state_t* states();

    LoadedModel& model_;
    NormalCode normal_;
    std::vector<std::vector<IntegerMixing>> mixings_;  // [levels][steps]
    std::vector<std::int64_t> x_, moved_;              // states [N, H, W, C] of the current level
    std::vector<real> predicted_;
};

}  // namespace glow
