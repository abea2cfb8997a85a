// The flow in whole numbers, for lossless compression: bits-back coding of images with the model's own
// likelihood (local bits-back coding, Ho et al. 2019, section 3.4, layer by layer; in the exact form with
// uniform coding of Zhang et al. 2021, "iFlow").
//
// A state is a whole number x that stands for the cell [x, x + 1) 2^-kFractionBits. Every layer is a
// bijection of states and of the bits on a stack together, which encode() and decode() run forwards and
// backwards on integers alone, so nothing is ever rounded away: what floating point says (shifts, scales,
// means and deviations, from networks whose inputs are the same cells both ways) only chooses which
// bijection. On the same build and number of threads it says the same both ways.
//
//   pixels       the noise below a pixel comes off the stack: log2 of the cells of its bin are borrowed
//   scale s      x -> floor((R x + r) / S) with R/S = s; r (one of R) comes off, the remainder (one of S)
//   goes
//                on: log2(S/R) = -log2 s bits, the log-determinant
//   mixing       M = P L D U: two shears in integers around such a scaling
//   shift        addition
//   latents      eps = (z - mean) / sigma by shift and scale, then pushed with standard normal frequencies
//
// So an image adds -log2 p(x + u) bits, u being the noise that came off: on average what glow_eval reports.
#pragma once

#include <cstdint>
#include <vector>

#include "inference/bit_stack.h"
#include "inference/inference.h"

namespace glow {

inline constexpr int kFractionBits = 18;  // of a state; 8 bits of a pixel leave 10 of noise

// s = R / S, both in 1 .. 2^24, one of them 2^24: relative error max(s, 1/s) 2^-25.
struct Ratio {
    std::int64_t R, S;
};
Ratio ratio_of(double s);
// x <-> floor((R x + r) / S) with r off and the remainder on the stack; InputError or Error where |x| leaves
// the range of states.
std::int64_t scale_up(BitStack& stack, const Ratio& ratio, std::int64_t x);
std::int64_t scale_back(BitStack& stack, const Ratio& ratio, std::int64_t y);

// A matrix [C, C] as rows of P (I + L) D (I + U), ready for integers: y[rows[i]] = ((I + L) D (I + U) x)[i].
struct IntegerMixing {
    index_t C = 0;
    std::vector<std::int64_t> lower, upper;  // [C, C] strict triangles, times 2^24
    std::vector<Ratio> diagonal;             // [C] |D|
    std::vector<std::uint8_t> negative;      // [C] is D below 0?
    std::vector<index_t> rows;               // [C]
    std::vector<std::int64_t> shift;         // [C] in cells, added last

    // matrix [C, C], shift [C]. Error, naming `name`, where a factor is beyond integers: a matrix close to
    // singular.
    static IntegerMixing of(index_t C, const double* matrix, const double* shift, const std::string& name);
    // x [C] in place.
    void forward(BitStack& stack, std::int64_t* x) const;
    void inverse(BitStack& stack, std::int64_t* x) const;

  private:
    mutable std::vector<std::int64_t> scratch_ = {};
};

// A whole number with the distribution of floor(eps 2^kFractionBits), eps standard normal: a bucket of 1/32
// by its frequency, the rest within it evenly (4e-5 nats above the true entropy).
class NormalCode {
  public:
    NormalCode();
    void push(BitStack& stack, std::int64_t eps) const;
    std::int64_t pop(BitStack& stack) const;

  private:
    std::vector<std::uint32_t> first_;  // [kBuckets + 2] of 2^24: cumulated frequencies, the escape last
    std::vector<std::uint16_t>
        bucket_;  // by the leading 12 bits of a frequency: the first bucket that may be
};

class LosslessCoder {
  public:
    // The model must be on the CPU (InputError otherwise) and stay alive.
    explicit LosslessCoder(LoadedModel& model);

    // Images onto the stack and off it. pixels [N, H, W, C], of n_bits each (the low ones 0); labels [N]
    // where the model is conditional, coded too. N at most model.buffers().capacity, and decode() needs the N
    // of its encode().
    struct Borrowed {
        std::uint64_t bits = 0;  // how far below its start the stack went on the way
    };
    Borrowed encode(BitStack& stack, index_t N, const std::uint8_t* pixels, const std::int32_t* labels);
    // Throws InputError where the stack holds no such images.
    void decode(BitStack& stack, index_t N, std::uint8_t* pixels, std::int32_t* labels);

    const ModelConfig& config() const { return model_.glow().config(); }

  private:
    enum class Way { forward, inverse };
    void couple(BitStack& stack, Way way, Glow::Level& level, Coupling& coupling, index_t N);
    void code_split(BitStack& stack, Way way, Glow::Level& level, index_t N);
    void code_top(BitStack& stack, Way way, index_t N, const std::int32_t* labels);
    // The states as the networks see them: the middles of their cells.
    const state_t* states();

    LoadedModel& model_;
    NormalCode normal_;
    std::vector<std::vector<IntegerMixing>> mixings_;  // [levels][steps]
    std::vector<std::int64_t> x_, moved_;              // the states [N, H, W, C] of the level at work
    std::vector<real> predicted_;
};

}  // namespace glow
