#include "train/batch_prefetcher.h"

#include <cstring>
#include <utility>

#include "kernels/error.h"
#include "runtime/watchdog.h"

namespace glow {

BatchPrefetcher::BatchPrefetcher(const Exec& exec, Device device, Arena& state, const ModelConfig& model,
                                 index_t batch, index_t capacity, Source source)
    : uploads_(device == Device::cuda),
      stream_(exec),
      D_(model.dimensions()),
      batch_(batch),
      capacity_(capacity),
      source_(std::move(source)) {
    if (!uploads_) return;
    const auto size = static_cast<index_t>(bytes());
    current_memory_ = state.take<std::byte>(size);
    following_memory_ = state.take<std::byte>(size);
    if (exec.device != Device::count_only) pinned_ = HostArray<std::byte>(exec.device, size);
}

BatchPrefetcher::~BatchPrefetcher() {
    if (pinned_.data() == nullptr) return;
    try {
        synchronize(stream_.exec());
    } catch (const Error&) {  // already failing: the first exception is reported
    }
}

void BatchPrefetcher::seek(index_t first) {
    first_ = first;
    following_.reset();
    problem_ = nullptr;
}

const Batch& BatchPrefetcher::next() {
    if (!uploads_) return current_ = read();
    if (problem_) std::rethrow_exception(std::exchange(problem_, nullptr));
    if (!following_) following_ = upload(read());
    stream_.join();
    current_ = *following_;
    following_.reset();
    std::swap(current_memory_, following_memory_);
    try {
        following_ = upload(read());
    } catch (const Error&) {  // this step's images were read, and the next one's may not be needed
        problem_ = std::current_exception();
    }
    return current_;
}

Batch BatchPrefetcher::read() {
    const ScopedTimeout timeout("reading images");
    const Batch images = source_(first_);
    if (images.N > capacity_) throw Error("more images than a batch buffer holds");
    first_ += batch_;
    return images;
}

// Uploads to following_memory_, which the last launched step may still read: the copy waits for it.
Batch BatchPrefetcher::upload(const Batch& images) {
    synchronize(stream_.exec());  // the previous upload must be done with the pinned memory
    const auto N = static_cast<std::size_t>(images.N), pixels = N * static_cast<std::size_t>(D_);
    if (N > 0) {
        std::memcpy(pinned_.data(), images.numbers, N * sizeof(std::uint64_t));
        if (images.labels != nullptr)
            std::memcpy(pinned_.data() + labels_at(), images.labels, N * sizeof(std::int32_t));
        std::memcpy(pinned_.data() + pixels_at(), images.pixels, pixels);
    }
    stream_.fork();
    start_upload_bytes(stream_.exec(), pixels_at() + pixels, pinned_.data(), following_memory_);
    std::byte* const memory = following_memory_;
    return {images.N, reinterpret_cast<const std::uint8_t*>(memory + pixels_at()),
            reinterpret_cast<const std::uint64_t*>(memory),
            images.labels != nullptr ? reinterpret_cast<const std::int32_t*>(memory + labels_at()) : nullptr,
            true};
}

}  // namespace glow
