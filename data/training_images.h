// The training set as an endless stream: image number s of the run, in stateless random order, augmented.
#pragma once

#include <future>
#include <vector>

#include "data/augment.h"
#include "data/batch.h"
#include "data/dataset.h"

namespace glow {

// Programs warn of fewer validation images: the standard error of their bits/dim is about 0.1.
inline constexpr index_t kFewValidationImages = 50;

class TrainingImages {
  public:
    // read_ahead: take() prefetches the images of the next call on another thread. Always on if the images
    // are on disk.
    TrainingImages(SplitImages images, Augmentation augmentation, bool shuffle, std::uint64_t seed,
                   bool read_ahead = false);
    TrainingImages(const TrainingImages&) = delete;
    TrainingImages& operator=(const TrainingImages&) = delete;

    index_t size() const { return images_.N(); }
    // Images s .. s + count - 1 of the run, valid until the next call. Prefetching assumes the same stride
    // and count as in the last two calls; other requests are read directly. The result is bit-equal either
    // way.
    Batch take(index_t s, index_t count);

  private:
    struct Filled {
        index_t s = 0, count = 0;
        std::vector<std::uint8_t> pixels;
        std::vector<std::uint64_t> numbers;
        std::vector<std::int32_t> labels;
    };
    Filled fill(index_t s, index_t count, Filled space) const;

    SplitImages images_;
    Augmentation augmentation_;
    bool shuffle_;
    std::uint64_t seed_;
    bool read_ahead_;
    Filled current_, spare_;
    std::future<Filled> next_;  // last member: its thread uses the others, so it must end first
};

}  // namespace glow
