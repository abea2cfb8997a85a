#include "data/data_fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "data/formats/fingerprint.h"

namespace glow {
namespace {

constexpr index_t kSampled = 64;

template <class T>
std::string hash_of(const std::vector<T>& values) {
    return fmt::format("{:016x}", fingerprint(values.data(), values.size() * sizeof(T)));
}

nlohmann::ordered_json split_fingerprint(const SplitImages& images) {
    const ImageSet& set = images.set();
    const index_t N = set.N, bytes = set.image_bytes(), sampled = std::min(kSampled, N);
    std::vector<index_t> numbers;
    for (index_t i = 0; i < sampled; ++i) numbers.push_back(sampled > 1 ? i * (N - 1) / (sampled - 1) : 0);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(sampled * bytes));
    images.gather(numbers.data(), sampled, pixels.data());
    nlohmann::ordered_json split = {{"images", N}, {"sampled", hash_of(pixels)}};
    if (!set.labels.empty()) split["labels"] = hash_of(set.labels);
    if (!images.on_disk()) {
        std::vector<std::uint64_t> hashes(static_cast<std::size_t>(N));
#pragma omp parallel for schedule(static)
        for (index_t n = 0; n < N; ++n)
            hashes[n] = fingerprint(set.image(n), static_cast<std::size_t>(bytes));
        split["all"] = hash_of(hashes);
    }
    return split;
}

// A member of untrusted JSON from a checkpoint; null if missing.
nlohmann::ordered_json member(const nlohmann::ordered_json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object[key] : nlohmann::ordered_json();
}

index_t images_of(const nlohmann::ordered_json& data, const char* split) {
    const nlohmann::ordered_json count = member(member(data, split), "images");
    return count.is_number_integer() ? count.get<index_t>() : 0;
}

std::string describe(const nlohmann::ordered_json& data) {
    std::vector<std::string> sides;
    for (const auto& side : member(data, "shape")) sides.push_back(side.dump());
    return fmt::format("{} training and {} validation images of {}", images_of(data, "train"),
                       images_of(data, "valid"), fmt::join(sides, "x"));
}

}  // namespace

nlohmann::ordered_json data_fingerprint(const SplitImages& train, const SplitImages* valid) {
    const ImageSet& set = train.set();
    nlohmann::ordered_json data = {{"shape", {set.H, set.W, set.C}}, {"train", split_fingerprint(train)}};
    if (!set.labels.empty()) data["n_classes"] = set.n_classes;
    if (valid != nullptr) data["valid"] = split_fingerprint(*valid);
    return data;
}

index_t training_images(const nlohmann::ordered_json& data) {
    return std::max<index_t>(0, images_of(data, "train"));
}

std::string data_difference(const nlohmann::ordered_json& was, const nlohmann::ordered_json& now,
                            const char* format) {
    if (!was.is_object() || !now.is_object()) return "";
    if (const std::string before = describe(was), after = describe(now); before != after)
        return fmt::format(fmt::runtime(format), before, after);
    for (const char* const split : {"train", "valid"}) {
        const nlohmann::ordered_json a = member(was, split), b = member(now, split);
        const bool both = !member(a, "all").is_null() && !member(b, "all").is_null();
        if (member(a, "sampled") != member(b, "sampled") || (both && member(a, "all") != member(b, "all")))
            return "has different images";
        if (member(a, "labels") != member(b, "labels")) return "has different labels";
    }
    return member(was, "n_classes") != member(now, "n_classes") ? "has a different number of classes" : "";
}

}  // namespace glow
