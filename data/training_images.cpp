#include "data/training_images.h"

#include <utility>

#include "data/shuffle.h"

namespace glow {

TrainingImages::TrainingImages(SplitImages images, Augmentation augmentation, bool shuffle,
                               std::uint64_t seed, bool read_ahead)
    : images_(std::move(images)),
      augmentation_(augmentation),
      shuffle_(shuffle),
      seed_(seed),
      read_ahead_(read_ahead || images_.on_disk()) {}

// Reuses the buffers of `space`.
TrainingImages::Filled TrainingImages::fill(index_t s, index_t count, Filled space) const {
    const ImageSet& set = images_.set();
    const index_t bytes = set.image_bytes();
    std::vector<index_t> taken(static_cast<std::size_t>(count));
    std::vector<std::uint8_t> plain(static_cast<std::size_t>(images_.on_disk() ? count * bytes : 0));
    space.s = s;
    space.count = count;
    space.pixels.resize(static_cast<std::size_t>(count * bytes));
    space.numbers.resize(static_cast<std::size_t>(count));
    if (!set.labels.empty()) space.labels.resize(static_cast<std::size_t>(count));
    for (index_t i = 0; i < count; ++i)
        taken[i] = shuffle_ ? image_of_run(seed_, set.N, s + i) : (s + i) % set.N;
    if (images_.on_disk()) images_.gather(taken.data(), count, plain.data());
    for (index_t i = 0; i < count; ++i) {
        space.numbers[i] = static_cast<std::uint64_t>(s + i);
        if (!set.labels.empty()) space.labels[i] = set.labels[taken[i]];
        augment_image(augmentation_, seed_, space.numbers[i],
                      images_.on_disk() ? plain.data() + i * bytes : set.image(taken[i]), set.H, set.W, set.C,
                      space.pixels.data() + i * bytes);
    }
    return space;
}

Batch TrainingImages::take(index_t s, index_t count) {
    const index_t step = current_.count > 0 ? s - current_.s : 0;
    if (next_.valid()) {
        spare_ = std::exchange(current_, next_.get());  // rethrows reading errors
        if (current_.s != s || current_.count != count) current_ = fill(s, count, std::move(current_));
    } else {
        current_ = fill(s, count, std::move(current_));
    }
    if (read_ahead_)  // if no thread can be started: on this one, at the next call
        next_ = std::async(std::launch::async | std::launch::deferred,
                           [this, following = s + (step > 0 ? step : count), count] {
                               return fill(following, count, std::move(spare_));
                           });
    return {count, current_.pixels.data(), current_.numbers.data(),
            current_.labels.empty() ? nullptr : current_.labels.data()};
}

}  // namespace glow
