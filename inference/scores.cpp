#include "inference/scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/formats/png.h"

namespace glow {

std::vector<double> png_bits_per_dim(const SplitImages& images, int n_bits) {
    constexpr index_t kAtOnce = 64, kBytesAtOnce = index_t{1} << 24;  // read together, unless one has more
    const ImageSet& shape = images.set();
    const index_t bytes = shape.image_bytes(), batch = std::clamp<index_t>(kBytesAtOnce / bytes, 1, kAtOnce);
    Image image{shape.H, shape.W, shape.C, {}};
    std::vector<index_t> numbers(static_cast<std::size_t>(batch));
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(batch * bytes));
    std::vector<double> bits;
    for (index_t first = 0; first < images.N(); first += batch) {
        const index_t count = std::min(batch, images.N() - first);
        std::iota(numbers.begin(), numbers.begin() + count, first);
        images.gather(numbers.data(), count, pixels.data());
        for (std::uint8_t& pixel : pixels)
            pixel = static_cast<std::uint8_t>(pixel >> (8 - n_bits) << (8 - n_bits));
        for (index_t n = 0; n < count; ++n) {
            image.pixels.assign(pixels.data() + n * bytes, pixels.data() + (n + 1) * bytes);
            bits.push_back(8.0 * static_cast<double>(png_bytes(image)) / static_cast<double>(bytes));
        }
    }
    return bits;
}

double auroc(const std::vector<double>& low, const std::vector<double>& high) {
    std::vector<double> sorted = low;
    std::sort(sorted.begin(), sorted.end());
    double wins = 0;
    for (const double value : high) {
        const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), value);
        wins += static_cast<double>(first - sorted.begin()) + 0.5 * static_cast<double>(last - first);
    }
    return wins / (static_cast<double>(low.size()) * static_cast<double>(high.size()));
}

std::optional<double> correlation(const std::vector<double>& a, const std::vector<double>& b) {
    const double N = static_cast<double>(a.size());
    const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / N,
                 mean_b = std::accumulate(b.begin(), b.end(), 0.0) / N;
    double aa = 0, bb = 0, ab = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        aa += (a[i] - mean_a) * (a[i] - mean_a);
        bb += (b[i] - mean_b) * (b[i] - mean_b);
        ab += (a[i] - mean_a) * (b[i] - mean_b);
    }
    if (!(aa > 0 && bb > 0)) return {};
    return ab / std::sqrt(aa * bb);
}

std::vector<index_t> argsort(const std::vector<double>& values) {
    std::vector<index_t> order(values.size());
    std::iota(order.begin(), order.end(), index_t{0});
    std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return values[a] < values[b]; });
    return order;
}

}  // namespace glow
