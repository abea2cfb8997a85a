#include "data/class_split.h"

#include <algorithm>

#include "data/shuffle.h"

namespace glow {

std::vector<bool> draw_holdout(const std::vector<std::int32_t>& labels, std::int32_t n_classes, index_t count,
                               index_t stay, std::uint64_t seed, std::uint64_t pass) {
    const auto N = static_cast<index_t>(labels.size());
    std::vector<bool> taken(labels.size());
    if (n_classes < 2) {
        for (index_t n = 0; n < count; ++n)
            taken[static_cast<std::size_t>(shuffled(seed, pass, N, n))] = true;
        return taken;
    }
    std::vector<index_t> left(static_cast<std::size_t>(n_classes)), got(left.size());
    const auto class_of = [&](index_t image) {
        return static_cast<std::size_t>(labels[static_cast<std::size_t>(image)]);
    };
    for (index_t n = 0; n < N; ++n) ++left[class_of(n)];
    std::vector<index_t> least = left;  // minimum that remains of each class
    for (index_t& images : least) images = std::min(stay, std::max<index_t>(1, images - 1));
    const auto take = [&](index_t image, bool into) {
        taken[static_cast<std::size_t>(image)] = into;
        got[class_of(image)] += into ? 1 : -1;
        left[class_of(image)] -= into ? 1 : -1;
    };
    std::vector<index_t> drawn;
    for (index_t n = 0; n < N && std::ssize(drawn) < count; ++n) {
        const index_t image = shuffled(seed, pass, N, n);
        if (left[class_of(image)] <= least[class_of(image)]) continue;
        take(image, true);
        drawn.push_back(image);
    }
    const auto is_missing = [&](std::size_t c) { return got[c] == 0 && left[c] > least[c]; };
    index_t missing = 0;
    for (std::size_t c = 0; c < got.size(); ++c) missing += is_missing(c) ? 1 : 0;
    for (index_t n = 0; n < N && missing > 0; ++n) {
        const index_t image = shuffled(seed, pass, N, n);
        if (!is_missing(class_of(image))) continue;
        while (!drawn.empty() && got[class_of(drawn.back())] < 2) drawn.pop_back();
        if (drawn.empty()) break;
        take(drawn.back(), false);
        drawn.pop_back();
        take(image, true);
        --missing;
    }
    return taken;
}

std::vector<index_t> spread_over_classes(const std::vector<index_t>& sizes, index_t limit) {
    std::vector<index_t> quotas(sizes.size(), 0);
    index_t open = 1;
    while (limit > 0 && open > 0) {
        open = 0;
        for (std::size_t c = 0; c < sizes.size(); ++c) open += quotas[c] < sizes[c] ? 1 : 0;
        const index_t share = open > 0 ? std::max<index_t>(1, limit / open) : 0;
        for (std::size_t c = 0; c < sizes.size(); ++c) {
            const index_t more = std::min({share, sizes[c] - quotas[c], limit});
            quotas[c] += more;
            limit -= more;
        }
    }
    return quotas;
}

}  // namespace glow
