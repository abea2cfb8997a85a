// Evaluations and samples of a run.
#include "train/inspect.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "train/data/grid.h"

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
    const Share mine = processes.share(N);
    const Noise noise{true, seed, Purpose::evaluate, nullptr};
    trainer.use(ema);
    for (index_t first = mine.first; first < mine.first + mine.count; first += at_once) {
        const index_t count = std::min(at_once, mine.first + mine.count - first);
        images.gather(each.data() + first, count, pixels.data());
        evaluate(trainer.context(), trainer.glow(), trainer.buffers(),
                 {count, pixels.data(), numbers.data() + first, images.labels(first)}, noise,
                 {.bits_per_dim = bits.data() + first});
    }
    processes.gather_shares(N, sizeof(double), bits.data());
    return mean_of(bits.data(), N);
}

Image sheet_of_samples(Trainer& trainer, std::uint64_t seed) {
    const ModelConfig& m = trainer.glow().config();
    // 8 x 8 images, fewer where they are large: the plan does not count the sheet. A tile is magnified to 64
    // pixels a side and more.
    const index_t scale = std::max<index_t>(1, 64 / std::min(m.image_height, m.image_width));
    const index_t tile = m.image_height * m.image_width * scale * scale;
    index_t side = 8;
    while (side > 1 && tile * side * side > index_t{1} << 22) side /= 2;
    if (tile > index_t{1} << 26) return {};
    const GridSize grid{side, side};
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(grid.tiles() * m.dimensions()));
    const std::vector<std::int32_t> labels =
        column_classes(grid.tiles(), grid.columns, std::max<index_t>(1, m.n_classes));
    trainer.use(true);
    Communicator& processes = trainer.context().communicator;
    const Share mine = processes.share(grid.tiles());
    sample(trainer.context(), trainer.glow(), trainer.buffers(), mine.first, mine.count, 0.7, seed,
           labels.data() + mine.first, pixels.data() + mine.first * m.dimensions());
    processes.gather_shares(grid.tiles(), static_cast<std::size_t>(m.dimensions()), pixels.data());
    if (!processes.is_first()) return {};
    return tile_images(pixels.data(), grid.tiles(), m.image_height, m.image_width, m.channels, grid);
}

}  // namespace glow
