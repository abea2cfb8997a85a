// Batches of downsampled ImageNet (Chrabaszcz et al. 2017) and other images in NumPy archives: `data`, uint8
// [N, 3 S S] in planes R, G, B (or [N, S S] gray, [N, H, W], [N, H, W, C]), and perhaps `labels`, integers
// [N].
#pragma once

#include <memory>

#include "data/formats/npy.h"
#include "data/source.h"

namespace glow {

// Files whose name says val or test (npz_names.h) are the test part, the others the training part, each in
// the order given. Labels that begin at 1 in all files together are counted from 0. InputError: arrays
// missing, other types, shapes that differ or make no image, Fortran order, some files with labels and some
// without.
class NpzSource : public ImageSource {
  public:
    explicit NpzSource(const std::vector<std::filesystem::path>& files);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

    struct File {
        std::filesystem::path path;
        Part part;
        index_t N;
        std::vector<std::int64_t> labels;
    };
    // In the order in which they are read.
    const std::vector<File>& files() const { return files_; }
    // Names that may not mean what they were taken for.
    const std::vector<std::string>& warnings() const { return warnings_; }

  private:
    void open(std::size_t file);

    std::vector<File> files_;
    std::vector<std::string> warnings_;
    SourceInfo info_;
    bool planes_ = false;  // [N, C, H, W] and not [N, H, W, C]
    std::int64_t first_label_ = 0;
    std::size_t opened_ = 0;  // the file that data_ reads
    index_t left_ = 0;        // images left in it
    std::unique_ptr<NpyReader> data_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace glow
