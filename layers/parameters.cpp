#include "layers/parameters.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/philox.h"

namespace glow::inline GLOW_REAL {
namespace {

void normal_numbers(std::uint64_t seed, std::uint64_t tensor, std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); i += 4) {
        const PhiloxWords words = philox_block(seed, Purpose::weights, tensor, i / 4);
        const NormalPair pair[2] = {philox_normal(words.word[0], words.word[1]),
                                    philox_normal(words.word[2], words.word[3])};
        const double four[4] = {pair[0].first, pair[0].second, pair[1].first, pair[1].second};
        for (std::size_t j = 0; j < 4 && i + j < values.size(); ++j) values[i + j] = four[j];
    }
}

// Element i goes to the rank of the i-th random word.
std::vector<index_t> random_permutation(std::uint64_t seed, std::uint64_t item, index_t count) {
    std::vector<std::uint64_t> keys(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) {
        const PhiloxWords words = philox_block(seed, Purpose::weights, item, static_cast<std::uint64_t>(i));
        keys[i] = std::uint64_t{words.word[0]} << 32 | words.word[1];
    }
    std::vector<index_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), index_t{0});
    std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return keys[a] < keys[b]; });
    return order;
}

// First stream number of fixed tensors, and of tensors with a separate stream; other trainable tensors start
// at 0.
constexpr std::uint64_t kFixedStreams = std::uint64_t{1} << 40, kSeparateStreams = std::uint64_t{1} << 41;

Tensor place_tensor(std::string name, std::vector<index_t> shape, Init init, index_t& size) {
    index_t count = 1;
    for (const index_t extent : shape) count *= extent;
    Tensor tensor{std::move(name), std::move(shape), init, size, count};
    size += round_up(count, Tensor::kAlignedElements);
    return tensor;
}

}  // namespace

std::string step_name(index_t level, index_t step) {
    return "level" + std::to_string(level) + "/step" + std::to_string(step);
}

std::string split_name(index_t level) {
    return "level" + std::to_string(level) + "/split";
}

std::string dequantizer_step_name(index_t step) {
    return "dequantizer/step" + std::to_string(step);
}

Parameter Parameters::add(std::string name, std::vector<index_t> shape, Init init) {
    tensors_.push_back(place_tensor(std::move(name), std::move(shape), init, size_));
    return Parameter(this, tensors_.back().offset);
}

Parameter Parameters::add_fixed(std::string name, std::vector<index_t> shape, Init init, bool integer) {
    Tensor tensor = place_tensor(std::move(name), std::move(shape), init, fixed_size_);
    tensor.trainable = false;
    tensor.integer = integer;
    fixed_tensors_.push_back(std::move(tensor));
    return Parameter(this, fixed_tensors_.back().offset, false);
}

Parameters::Lu Parameters::add_lu(const std::string& name, index_t C) {
    const std::size_t number = tensors_.size() - separate_tensors_;
    const Lu lu{add_fixed(name + "/permutation", {C}, Init::lu, true),
                add_fixed(name + "/sign", {C}, Init::lu, false), add(name + "/log_diag", {C}, Init::lu),
                add(name + "/lower", {C, C}, Init::lu), add(name + "/upper", {C, C}, Init::lu)};
    lus_.push_back({lu, C, number});
    return lu;
}

index_t Parameters::count() const {
    index_t sum = 0;
    for (const Tensor& tensor : tensors_) sum += tensor.count;
    return sum;
}

void Parameters::initialize(std::uint64_t seed, Solver& solver) const {
    std::fill(values_, values_ + size_, real{0});
    std::fill(fixed_, fixed_ + fixed_size_, real{0});
    std::vector<double> values;
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
        const Tensor& tensor = tensors_[t];
        if (tensor.init != Init::normal && tensor.init != Init::orthogonal) continue;
        values.resize(tensor.count);
        normal_numbers(seed, t < separate_tensors_ ? kSeparateStreams + t : t - separate_tensors_, values);
        double scale = 0.05;
        if (tensor.init == Init::orthogonal) {
            solver.orthogonalize(tensor.shape[0], values.data());
            scale = 1.0;
        }
        for (index_t i = 0; i < tensor.count; ++i)
            values_[tensor.offset + i] = static_cast<real>(scale * values[i]);
    }
    for (const LuGroup& group : lus_) initialize_lu(seed, group.number, group.parts, group.C, solver);
    for (std::size_t t = 0; t < fixed_tensors_.size(); ++t) {
        const Tensor& tensor = fixed_tensors_[t];
        if (tensor.init != Init::shuffled) continue;
        const std::vector<index_t> order = random_permutation(seed, kFixedStreams + t, tensor.count);
        std::copy(order.begin(), order.end(), fixed_ + tensor.offset);
    }
}

void Parameters::initialize_lu(std::uint64_t seed, std::uint64_t number, const Lu& lu, index_t C,
                               Solver& solver) const {
    std::vector<double> W(static_cast<std::size_t>(C * C));
    std::vector<index_t> permutation(static_cast<std::size_t>(C));
    normal_numbers(seed, number, W);
    solver.orthogonalize(C, W.data());
    solver.factorize(C, W.data(), permutation.data());
    for (index_t r = 0; r < C; ++r) {
        lu.permutation.value()[r] = static_cast<real>(permutation[r]);
        lu.sign.value()[r] = W[r * C + r] < 0 ? real{-1} : real{1};
        lu.log_diag.value()[r] = static_cast<real>(std::log(std::abs(W[r * C + r])));
        for (index_t c = 0; c < C; ++c)
            if (r != c) (r > c ? lu.lower : lu.upper).value()[r * C + c] = static_cast<real>(W[r * C + c]);
    }
}

}  // namespace glow::inline GLOW_REAL
