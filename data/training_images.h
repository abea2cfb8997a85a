// The training set as a stream: image number s of the run, in stateless random order, augmented.
#pragma once

#include <future>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "data/batch.h"

namespace glow {

class TrainingImages {
  public:
    // read_ahead: take() prepares the images of the next call on another thread, as it always does where the images
    // are on disk.
    TrainingImages(SplitImages images, Augmentation augmentation, bool shuffle, std::uint64_t seed,
                   bool read_ahead = false);
    TrainingImages(const TrainingImages&) = delete;
    TrainingImages& operator=(const TrainingImages&) = delete;

    index_t size() const { return images_.N(); }
    // Images s .. s + count - 1 of the run. The result is valid until the next call. Images
    // read ahead are those that the next call asks for if it advances as this one did; else they are read when
    // asked for. The result is the same, bit for bit, either way.
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
    std::future<Filled> next_;  // last: its thread uses the others, and ends before they do
};

}  // namespace glow
