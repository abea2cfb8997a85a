// Image number s is element s mod N of permutation floor(s / N); noise and augmentation follow s.
#include "train/training_images.h"

#include "train/data/shuffle.h"

namespace glow {

TrainingImages::TrainingImages(ImageSet set, Augmentation augmentation, bool shuffle, std::uint64_t seed)
    : set_(std::move(set)), augmentation_(augmentation), shuffle_(shuffle), seed_(seed) {}

Batch TrainingImages::take(index_t s, index_t count) {
    pixels_.resize(static_cast<std::size_t>(count * set_.image_bytes()));
    numbers_.resize(static_cast<std::size_t>(count));
    if (!set_.labels.empty()) labels_.resize(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i) {
        const index_t number = s + i;
        const index_t image = shuffle_ ? image_of_run(seed_, set_.N, number) : number % set_.N;
        numbers_[i] = static_cast<std::uint64_t>(number);
        if (!labels_.empty()) labels_[i] = set_.labels[image];
        augment_image(augmentation_, seed_, numbers_[i], set_.image(image), set_.H, set_.W, set_.C,
                      pixels_.data() + i * set_.image_bytes());
    }
    return {count, pixels_.data(), numbers_.data(), labels_.empty() ? nullptr : labels_.data()};
}

}  // namespace glow
