// Two copies a batch: to the device beside its work, then within it, between two steps.
#include "train/staged_batch.h"

#include <cstring>

#include "kernels/error.h"

namespace glow {

StagedBatch::StagedBatch(const Exec& exec, Device device, Arena& state, index_t capacity,
                         const ModelConfig& model)
    : exec_(exec),
      side_(exec),
      capacity_(capacity),
      D_(model.dimensions()),
      device_(state.take<std::byte>(static_cast<index_t>(bytes()))) {
    if (exec.device != Device::count_only) host_ = HostArray<std::byte>(device, static_cast<index_t>(bytes()));
}

void StagedBatch::start(const Batch& batch) {
    if (batch.N > capacity_) throw Error("more images than are staged at once");
    started_ = {};
    if (exec_.device == Device::count_only || batch.N == 0) return;
    if (side_.exec().stream == exec_.stream) side_.fork();  // the first time: opens it
    synchronize(side_.exec());
    const auto images = static_cast<std::size_t>(batch.N);
    std::memcpy(host_.data(), batch.numbers, images * sizeof(std::uint64_t));
    if (batch.labels != nullptr)
        std::memcpy(host_.data() + labels_at(), batch.labels, images * sizeof(std::int32_t));
    const std::size_t pixels = images * static_cast<std::size_t>(D_);
    std::memcpy(host_.data() + pixels_at(), batch.pixels, pixels);
    start_upload_bytes(side_.exec(), pixels_at() + pixels, host_.data(), device_);
    started_ = batch;
    first_number_ = batch.numbers[0];
}

bool StagedBatch::take(const Batch& batch, const FlowBuffers& buffers) {
    if (started_.N == 0 || batch.N != started_.N || batch.pixels != started_.pixels ||
        batch.labels != started_.labels || batch.numbers[0] != first_number_)
        return false;
    const auto images = static_cast<std::size_t>(batch.N);
    side_.join();
    copy_bytes(exec_, images * sizeof(std::uint64_t), device_, buffers.numbers);
    if (batch.labels != nullptr && buffers.labels != nullptr)
        copy_bytes(exec_, images * sizeof(std::int32_t), device_ + labels_at(), buffers.labels);
    copy_bytes(exec_, images * static_cast<std::size_t>(D_), device_ + pixels_at(), buffers.pixels);
    side_.fork();
    started_ = {};
    return true;
}

}  // namespace glow
