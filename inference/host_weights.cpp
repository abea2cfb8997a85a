#include "inference/host_weights.h"

namespace glow {

HostWeights::HostWeights(const Exec& exec, const Parameters& parameters, const Weights& device)
    : exec_(exec), host_(device) {
    if (exec.device != Device::cuda) return;
    for (float** const array : {&host_.params, &host_.ema, &host_.m, &host_.v})
        copy_of(*array, parameters.size());
    for (bfloat16** const array : {&host_.m_bf16, &host_.v_bf16}) copy_of(*array, parameters.size());
    copy_of(host_.fixed, parameters.fixed_size());
}

template <class T>
void HostWeights::copy_of(T*& array, index_t count) {
    if (array == nullptr) return;
    arrays_.push_back({array, std::vector<std::byte>(static_cast<std::size_t>(count) * sizeof(T))});
    array = reinterpret_cast<T*>(arrays_.back().host.data());
}

void HostWeights::fetch() {
    for (Array& array : arrays_) download_bytes(exec_, array.host.size(), array.device, array.host.data());
}

void HostWeights::send() const {
    for (const Array& array : arrays_)
        upload_bytes(exec_, array.host.size(), array.host.data(), array.device);
}

}  // namespace glow
