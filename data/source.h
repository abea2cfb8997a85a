// ImageSource: where a data set's images come from. write_dataset() applies limits, validation split and
// order the same way to every source.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "kernels/base.h"

namespace glow {

enum class SourceSplit { train, test };

// Contents of a source before limits, including images that turn out to be unusable.
struct SourceInfo {
    std::string name;
    index_t H = 0, W = 0, C = 0;
    std::int32_t n_classes = 0;  // 0: no labels
    index_t train = 0, test = 0;

    index_t images(SourceSplit split) const { return split == SourceSplit::train ? train : test; }
    index_t image_bytes() const { return H * W * C; }
};

class ImageSource {
  public:
    virtual ~ImageSource() = default;
    virtual const SourceInfo& info() const = 0;
    // Reads images first .. first + count - 1 of a split: images [count, H, W, C], labels [count] (null
    // without labels). usable [count] is initialized to 1; set it to 0 to skip an image. Calls come in order
    // without gaps, training split first. Throws InputError for bad files.
    virtual void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images,
                      std::int32_t* labels, std::uint8_t* usable) = 0;
    // Labels of a split, if a validation split drawn from it must keep every class; otherwise empty.
    virtual std::vector<std::int32_t> labels(SourceSplit) const { return {}; }
    // For each image of a split, the number of its photograph, in ascending order: the validation split takes
    // all images of a photograph or none. Empty: each image is a photograph of its own.
    virtual std::vector<index_t> groups(SourceSplit) const { return {}; }
    // Name of an image that was read; "": images have no names.
    virtual std::string name(SourceSplit, index_t) const { return {}; }
};

struct SplitOptions {
    index_t limit_train = -1, limit_test = -1;  // take the first N images; -1: all
    // fraction of the training images drawn by seed, after the limit
    double valid = 0.05;
    std::uint64_t seed = 0;
};

// Which images of these labels are for validation: options.valid of them, drawn by options.seed. With n_classes
// < 2 the labels only count the images. Throws InputError for a fraction out of range, or if none is left for
// training.
std::vector<bool> draw_validation(const std::vector<std::int32_t>& labels, std::int32_t n_classes,
                                  const SplitOptions& options);

// Writes the data set atomically, one batch in memory at a time. Calls progress(done, total) after each
// batch. Returns the counts written. Throws InputError if no training image is left.
DatasetInfo write_dataset(const std::filesystem::path& path, ImageSource& source, const SplitOptions& options,
                          const std::function<void(index_t done, index_t total)>& progress);

}  // namespace glow
