// Copies of a GPU's arrays.
#include "train/host_weights.h"

namespace glow {

HostWeights::HostWeights(const Place& place, const Parameters& parameters, const Weights& there)
    : place_(place), here_(there) {
    if (place.device != Device::cuda) return;
    const auto copy_of = [&](float*& array, index_t count) {
        if (array == nullptr) return;
        memory_.emplace_back(static_cast<std::size_t>(count));
        arrays_.push_back({array, memory_.back().data(), count});
        array = memory_.back().data();
    };
    for (float** const array : {&here_.params, &here_.ema, &here_.m, &here_.v})
        copy_of(*array, parameters.size());
    copy_of(here_.fixed, parameters.fixed_size());
}

void HostWeights::fetch() {
    for (const Array& array : arrays_) download(place_, array.count, array.there, array.here);
}

void HostWeights::send() const {
    for (const Array& array : arrays_) upload(place_, array.count, array.here, array.there);
}

}  // namespace glow
