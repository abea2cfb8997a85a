// Where the images of a data set come from, and how they become one: limits, the validation split and the
// order are the same for every source.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "data/dataset.h"
#include "kernels/base.h"

namespace glow {

enum class Part { train, test };

// What a source has, before limits; images that turn out unusable are counted.
struct SourceInfo {
    std::string name;
    index_t H = 0, W = 0, C = 0;
    std::int32_t n_classes = 0;  // 0: no labels
    index_t train = 0, test = 0;

    index_t images(Part part) const { return part == Part::train ? train : test; }
    index_t image_bytes() const { return H * W * C; }
};

class ImageSource {
  public:
    virtual ~ImageSource() = default;
    virtual const SourceInfo& info() const = 0;
    // Images first .. first + count - 1 of a part: images [count, H, W, C], labels [count] (null without
    // labels). usable [count] comes as ones; a source sets it to 0 for an image that is to be left out. Asked
    // in rising order and without gaps, train before test. InputError for what is wrong with the files.
    virtual void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
                      std::uint8_t* usable) = 0;
    // The labels of a part where the validation draw shall lose no class; empty: it does not look at classes.
    virtual std::vector<std::int32_t> labels(Part) const { return {}; }
    // For each image of a part the number of the photograph that it was cut from, rising: the validation draw takes all
    // images of a photograph or none. Empty: each image is its own.
    virtual std::vector<index_t> groups(Part) const { return {}; }
    // What an image that was read is called; "": images have no names.
    virtual std::string name(Part, index_t) const { return {}; }
};

struct SplitOptions {
    index_t limit_train = -1, limit_test = -1;  // the first so many images; -1: all
    double valid = 0.05;                        // part of the training images, after the limit, drawn by seed
    std::uint64_t seed = 0;
};

// Writes the data set, atomically, holding a batch of images in memory at a time. progress(done, of all
// images) is called after each batch. Returns the counts that were written. InputError where nothing is left
// for training.
DatasetInfo write_dataset(const std::filesystem::path& path, ImageSource& source, const SplitOptions& options,
                          const std::function<void(index_t done, index_t all)>& progress);

}  // namespace glow
