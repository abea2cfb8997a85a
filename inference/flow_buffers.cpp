#include "inference/flow_buffers.h"

#include "runtime/device.h"

namespace glow {

FlowBuffers FlowBuffers::take(Arena& state, index_t capacity, const ModelConfig& model, Device device) {
    FlowBuffers buffers;
    buffers.capacity = capacity;
    buffers.h = state.take<state_t>(capacity * model.dimensions());
    buffers.logdet = state.take<double>(capacity);
    buffers.prior = state.take<double>(capacity);
    if (device == Device::cuda) {
        buffers.pixels = state.take<std::uint8_t>(capacity * model.dimensions());
        buffers.numbers = state.take<std::uint64_t>(capacity);
        if (model.y_cond) buffers.labels = state.take<std::int32_t>(capacity);
    }
    if (model.weight_y > 0) {
        buffers.bits_y = state.take<double>(capacity);
        buffers.error_y = state.take<double>(capacity);
    }
    if (model.dequant_depth > 0) buffers.minus_log_q = state.take<double>(capacity);
    return buffers;
}

Batch FlowBuffers::to_device(const Exec& exec, const Batch& batch, index_t D) const {
    if (exec.device != Device::cuda) return batch;
    const auto copy = [&](index_t count, const auto* from, auto* to) {
        if (batch.on_device)
            copy_bytes(exec, static_cast<std::size_t>(count) * sizeof(*to), from, to);
        else
            upload(exec, count, from, to);
    };
    copy(batch.N * D, batch.pixels, pixels);
    copy(batch.N, batch.numbers, numbers);
    // models without classes ignore labels
    const bool labeled = batch.labels != nullptr && labels != nullptr;
    if (labeled) copy(batch.N, batch.labels, labels);
    return {batch.N, pixels, numbers, labeled ? labels : nullptr, true};
}

const std::int32_t* FlowBuffers::labels_to_device(const Exec& exec, index_t N,
                                                  const std::int32_t* classes) const {
    if (exec.device != Device::cuda) return classes;
    if (classes == nullptr || labels == nullptr) return nullptr;  // models without classes ignore labels
    upload(exec, N, classes, labels);
    return labels;
}

}  // namespace glow
