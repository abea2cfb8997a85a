// Two copies a batch: to the device beside its work, then within it, between two steps.
#include "train/staged_batch.h"

#include <cstring>

#include "kernels/error.h"

namespace glow {

StagedBatch::StagedBatch(const Place& place, Device device, Arena& state, index_t capacity,
                         const ModelConfig& model)
    : place_(place),
      side_(place),
      capacity_(capacity),
      D_(model.dimensions()),
      there_(state.take<std::byte>(static_cast<index_t>(bytes()))) {
    if (place.device != Device::none) here_ = HostArray<std::byte>(device, static_cast<index_t>(bytes()));
}

void StagedBatch::start(const Batch& batch) {
    if (batch.N > capacity_) throw Error("more images than are staged at once");
    started_ = {};
    if (place_.device == Device::none || batch.N == 0) return;
    if (side_.place().stream == place_.stream) side_.fork();  // the first time: opens it
    synchronise(side_.place());
    const auto images = static_cast<std::size_t>(batch.N);
    std::memcpy(here_.data(), batch.numbers, images * sizeof(std::uint64_t));
    if (batch.labels != nullptr)
        std::memcpy(here_.data() + labels_at(), batch.labels, images * sizeof(std::int32_t));
    const std::size_t pixels = images * static_cast<std::size_t>(D_);
    std::memcpy(here_.data() + pixels_at(), batch.pixels, pixels);
    start_upload_bytes(side_.place(), pixels_at() + pixels, here_.data(), there_);
    started_ = batch;
    first_number_ = batch.numbers[0];
}

bool StagedBatch::take(const Batch& batch, const FlowBuffers& buffers) {
    if (started_.N == 0 || batch.N != started_.N || batch.pixels != started_.pixels ||
        batch.labels != started_.labels || batch.numbers[0] != first_number_)
        return false;
    const auto images = static_cast<std::size_t>(batch.N);
    side_.join();
    copy_bytes(place_, images * sizeof(std::uint64_t), there_, buffers.numbers);
    if (batch.labels != nullptr && buffers.labels != nullptr)
        copy_bytes(place_, images * sizeof(std::int32_t), there_ + labels_at(), buffers.labels);
    copy_bytes(place_, images * static_cast<std::size_t>(D_), there_ + pixels_at(), buffers.pixels);
    side_.fork();
    started_ = {};
    return true;
}

}  // namespace glow
