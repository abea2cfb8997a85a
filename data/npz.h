// Reads images from NumPy archives, such as the batches of downsampled ImageNet (Chrabaszcz et al. 2017):
// `data`, uint8 [N, 3 S S] in planes R, G, B (or [N, S S] gray, [N, H, W], [N, H, W, C]), and optionally
// integer `labels` [N].
#pragma once

#include <memory>

#include "data/formats/npy.h"
#include "data/source.h"

namespace glow {

// Files with val or test in their name (npz_names.h) form the test split, the others the training split, in the
// given order. If the smallest label over all files is 1, labels are shifted to start at 0. Throws InputError
// for missing arrays, other types, shapes that differ or are not images, Fortran order, or labels in only
// some of the files.
class NpzSource : public ImageSource {
  public:
    explicit NpzSource(const std::vector<std::filesystem::path>& files);
    const SourceInfo& info() const override { return info_; }
    void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

    struct File {
        std::filesystem::path path;
        SourceSplit split;
        index_t N;
        std::vector<std::int64_t> labels;
    };
    // Files in reading order.
    const std::vector<File>& files() const { return files_; }
    // The label in the files that becomes 0.
    std::int64_t first_label() const { return first_label_; }
    // Warnings about ambiguous names.
    const std::vector<std::string>& warnings() const { return warnings_; }

  private:
    void open(std::size_t file);

    std::vector<File> files_;
    std::vector<std::string> warnings_;
    SourceInfo info_;
    bool planes_ = false;  // [N, C, H, W] instead of [N, H, W, C]
    std::int64_t first_label_ = 0;
    std::size_t opened_ = 0;  // the file that data_ reads
    index_t left_ = 0;        // images left in it
    std::unique_ptr<NpyReader> data_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace glow
