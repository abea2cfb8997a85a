// The training set as a stream: image number s of the run, in stateless random order, augmented.
#pragma once

#include <vector>

#include "train/data/augment.h"
#include "train/data/dataset.h"
#include "train/inference.h"

namespace glow {

class TrainingImages {
  public:
    TrainingImages(ImageSet set, Augmentation augmentation, bool shuffle, std::uint64_t seed);

    index_t size() const { return set_.N; }
    // Images s .. s + count - 1 of the run. The result is valid until the next call.
    Batch take(index_t s, index_t count);

  private:
    ImageSet set_;
    Augmentation augmentation_;
    bool shuffle_;
    std::uint64_t seed_;
    std::vector<std::uint8_t> pixels_;
    std::vector<std::uint64_t> numbers_;
    std::vector<std::int32_t> labels_;
};

}  // namespace glow
