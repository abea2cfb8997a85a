// MNIST and its kin (Fashion-MNIST, KMNIST) as four IDX files: gray images of at most 32 x 32 pixels, padded
// with zeros to 32 x 32, and their labels.
#pragma once

#include <optional>

#include "data/idx.h"
#include "data/source.h"

namespace glow {

inline constexpr index_t kMnistSide = 32;

// train-images-idx3-ubyte, train-labels-idx1-ubyte, and perhaps the same with t10k, each perhaps with .gz, or
// with a dot before idx, or in a folder of such a name (a file beside it comes first). InputError: no such
// folder, files missing or dangling links, ranks or counts that do not fit, images above 32 x 32.
class MnistSource : public ImageSource {
  public:
    explicit MnistSource(const std::filesystem::path& folder);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

  private:
    struct Files {
        IdxReader images;
        std::vector<std::uint8_t> labels;
    };
    std::optional<Files> open(const std::filesystem::path& folder, const std::string& prefix) const;

    std::optional<Files> train_, test_;
    SourceInfo info_;
};

}  // namespace glow
