// Copies of a GPU's arrays.
#include "inference/host_weights.h"

namespace glow {

HostWeights::HostWeights(const Place& place, const Parameters& parameters, const Weights& there)
    : place_(place), here_(there) {
    if (place.device != Device::cuda) return;
    for (float** const array : {&here_.params, &here_.ema, &here_.m, &here_.v})
        copy_of(*array, parameters.size());
    for (bfloat16** const array : {&here_.narrow_m, &here_.narrow_v}) copy_of(*array, parameters.size());
    copy_of(here_.fixed, parameters.fixed_size());
}

template <class T>
void HostWeights::copy_of(T*& array, index_t count) {
    if (array == nullptr) return;
    arrays_.push_back({array, std::vector<std::byte>(static_cast<std::size_t>(count) * sizeof(T))});
    array = reinterpret_cast<T*>(arrays_.back().here.data());
}

void HostWeights::fetch() {
    for (Array& array : arrays_) download_bytes(place_, array.here.size(), array.there, array.here.data());
}

void HostWeights::send() const {
    for (const Array& array : arrays_)
        upload_bytes(place_, array.here.size(), array.here.data(), array.there);
}

}  // namespace glow
