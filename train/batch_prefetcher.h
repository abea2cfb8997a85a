// The batches of a training loop, in order. On a GPU the next batch is uploaded during the current step: from
// pinned host memory, on a separate stream, into the one of two buffers that the step does not read.
#pragma once

#include <exception>
#include <functional>
#include <optional>

#include "data/batch.h"
#include "layers/config.h"
#include "runtime/device.h"
#include "runtime/forked_stream.h"
#include "runtime/memory.h"

namespace glow {

class BatchPrefetcher {
  public:
    // Returns this process's images of the batch that starts at image `first` of the run, in host memory,
    // valid until the next call.
    using Source = std::function<Batch(index_t first)>;

    // batch: images of all processes; capacity: maximum returned by the source. On a GPU both buffers come
    // from `state`. device: where they will be used, even if `exec` only counts.
    BatchPrefetcher(const Exec& exec, Device device, Arena& state, const ModelConfig& model, index_t batch,
                    index_t capacity, Source source);
    // Waits for an upload in flight, which reads the pinned memory.
    ~BatchPrefetcher();

    // The next batch in device memory, for later work on `exec`. Valid until the next call.
    const Batch& next();
    // Continues with the batch that starts at image `first` of the run.
    void seek(index_t first);

  private:
    // Layout of a batch in memory: numbers, labels, pixels.
    std::size_t labels_at() const { return static_cast<std::size_t>(capacity_) * sizeof(std::uint64_t); }
    std::size_t pixels_at() const {
        return labels_at() + static_cast<std::size_t>(capacity_) * sizeof(std::int32_t);
    }
    std::size_t bytes() const { return pixels_at() + static_cast<std::size_t>(capacity_ * D_); }
    Batch read();
    Batch upload(const Batch& images);

    bool uploads_;  // on a GPU
    ForkedStream stream_;
    index_t D_, batch_, capacity_;
    Source source_;
    index_t first_ = 0;  // first image of the batch to read next
    Batch current_;
    std::optional<Batch> following_;  // uploaded or being uploaded
    std::exception_ptr problem_;      // of reading the following batch
    HostArray<std::byte> pinned_;
    std::byte *current_memory_ = nullptr, *following_memory_ = nullptr;  // device memory
};

}  // namespace glow
