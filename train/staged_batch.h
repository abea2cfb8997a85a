// The next images on their way to a GPU while it still works on the last: from pinned memory of the host, by
// a stream of their own, to memory that no kernel of a step reads.
#pragma once

#include "runtime/device.h"
#include "runtime/memory.h"
#include "runtime/forked_stream.h"
#include "inference/inference.h"

namespace glow {

class StagedBatch {
  public:
    // For up to `capacity` images; memory of the device from `state`. On a device without kernels of its own
    // the copies are plain ones.
    StagedBatch(const Exec& exec, Device device, Arena& state, index_t capacity, const ModelConfig& model);

    // Starts to copy, once the copy before has ended; the batch's memory may then be reused. No more than
    // `capacity` images.
    void start(const Batch& batch);
    // If this batch is what was started last, and not taken yet: its images into `buffers`, for what the
    // place is given from now on. Else false, and nothing is done.
    bool take(const Batch& batch, const FlowBuffers& buffers);

  private:
    // Of a batch as it lies in memory, here and there.
    std::size_t labels_at() const { return static_cast<std::size_t>(capacity_) * sizeof(std::uint64_t); }
    std::size_t pixels_at() const {
        return labels_at() + static_cast<std::size_t>(capacity_) * sizeof(std::int32_t);
    }
    std::size_t bytes() const { return pixels_at() + static_cast<std::size_t>(capacity_ * D_); }

    Exec exec_;
    ForkedStream side_;
    index_t capacity_, D_;
    HostArray<std::byte> host_;
    std::byte* device_;
    Batch started_;
    std::uint64_t first_number_ = 0;
};

}  // namespace glow
