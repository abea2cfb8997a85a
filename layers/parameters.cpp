// Layout and initial values of the parameters.
#include "layers/parameters.h"

#include <algorithm>

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

}  // namespace

Parameter Parameters::add(std::string name, std::vector<index_t> shape, Start start) {
    index_t count = 1;
    for (const index_t extent : shape) count *= extent;
    const index_t offset = size_;
    tensors_.push_back({std::move(name), std::move(shape), start, offset, count});
    size_ += (count + 15) / 16 * 16;
    return Parameter(this, offset);
}

index_t Parameters::count() const {
    index_t sum = 0;
    for (const Tensor& tensor : tensors_) sum += tensor.count;
    return sum;
}

void Parameters::start(std::uint64_t seed, Solver& solver) const {
    std::fill(values_, values_ + size_, real{0});
    std::vector<double> values;
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
        const Tensor& tensor = tensors_[t];
        if (tensor.start == Start::zeros) continue;
        values.resize(tensor.count);
        normal_numbers(seed, t, values);
        double scale = 0.05;
        if (tensor.start == Start::orthogonal) {
            solver.orthogonalise(tensor.shape[0], values.data());
            scale = 1.0;
        }
        for (index_t i = 0; i < tensor.count; ++i)
            values_[tensor.offset + i] = static_cast<real>(scale * values[i]);
    }
}

}  // namespace glow::inline GLOW_REAL
