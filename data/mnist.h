// MNIST and data sets in its format (Fashion-MNIST, KMNIST): four IDX files with labels and gray images of at
// most 32 x 32 pixels, zero-padded to 32 x 32.
#pragma once

#include <optional>

#include "data/idx.h"
#include "data/source.h"

namespace glow {

inline constexpr index_t kMnistSide = 32;

// Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and optionally the same with t10k. Each may end in
// .gz, have a dot before idx, or lie in a folder of that name (a plain file wins). Throws InputError if the
// folder or files are missing, links dangle, ranks or counts do not match, or images exceed 32 x 32.
class MnistSource : public ImageSource {
  public:
    explicit MnistSource(const std::filesystem::path& folder);
    const SourceInfo& info() const override { return info_; }
    void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
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
