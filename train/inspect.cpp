// Evaluations of a run.
#include "train/inspect.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace glow {

Mean mean_bits_per_dim(Trainer& trainer, const SplitImages& images, std::uint64_t seed, bool ema) {
    const index_t N = images.N(), D = images.set().image_bytes();
    std::vector<index_t> each(static_cast<std::size_t>(N));
    std::iota(each.begin(), each.end(), index_t{0});
    const std::vector<std::uint64_t> numbers(each.begin(), each.end());
    // As many at once as pass the model together: the result does not depend on where they are read.
    const index_t at_once = trainer.buffers().capacity;
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(std::min(N, at_once) * D));
    std::vector<double> bits(numbers.size());
    Communicator& processes = trainer.context().communicator;
    const Slice mine = processes.slice(N);
    const Noise noise{true, seed, Purpose::evaluate, nullptr};
    trainer.use(ema);
    for (index_t first = mine.first; first < mine.first + mine.count; first += at_once) {
        const index_t count = std::min(at_once, mine.first + mine.count - first);
        images.gather(each.data() + first, count, pixels.data());
        evaluate(trainer.context(), trainer.glow(), trainer.buffers(),
                 {count, pixels.data(), numbers.data() + first, images.labels(first)}, noise,
                 {.bits_per_dim = bits.data() + first});
    }
    processes.all_gather_slices(N, sizeof(double), bits.data());
    return mean_of(bits.data(), N);
}

}  // namespace glow
