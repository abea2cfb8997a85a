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
    TrainingImages(SplitImages images, Augmentation augmentation, bool shuffle, std::uint64_t seed);
    TrainingImages(const TrainingImages&) = delete;
    TrainingImages& operator=(const TrainingImages&) = delete;

    index_t size() const { return images_.N(); }
    // Images s .. s + count - 1 of the run. The result is valid until the call after the next. Where the
    // images are on disk, another thread meanwhile reads those that the next call will ask for, if it steps
    // on as this one did from the one before (as far, as many); where it does not, they are read when asked
    // for. Either way the result is the same, bit for bit, as from memory.
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
    Filled current_, previous_, spare_;
    std::future<Filled> next_;  // last: its thread uses the others, and ends before they do
};

}  // namespace glow
