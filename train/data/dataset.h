// Data sets of 8-bit images (spec section 3): /train/images and perhaps /valid and /test, uint8 [N, H, W, C]
// with C in 1..4, perhaps labels (int32 [N], attribute n_classes), in one HDF5 file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "train/data/atomic_file.h"
#include "train/data/hdf5_file.h"

namespace glow {

// "train", "valid", "test"
inline constexpr const char* kSplits[] = {"train", "valid", "test"};

// What a file holds. Images of a split that is not there: 0. n_classes 0: no labels.
struct DatasetInfo {
    std::string name;
    index_t H = 0, W = 0, C = 0;
    index_t train = 0, valid = 0, test = 0;
    bool train_labels = false, valid_labels = false, test_labels = false;
    std::int32_t n_classes = 0;
    std::optional<double> entropy_bpd;  // bits/dim, of synthetic sets

    // InputError for a name that is none of the three.
    index_t images(const std::string& split) const;
    bool labels(const std::string& split) const;
};

// Images in memory. labels is empty where there are none (n_classes then 0).
struct ImageSet {
    index_t N = 0, H = 0, W = 0, C = 0;
    std::vector<std::uint8_t> images;  // [N, H, W, C]
    std::vector<std::int32_t> labels;  // [N], 0 .. n_classes - 1
    std::int32_t n_classes = 0;

    index_t image_bytes() const { return H * W * C; }
    const std::uint8_t* image(index_t n) const { return images.data() + n * image_bytes(); }
};

// A data set open for reading. The constructor checks the whole file but its pixels and labels: format,
// version, types, shapes, one H W C for all splits, at least one image in each. InputError says what is
// wrong.
class DatasetReader {
  public:
    explicit DatasetReader(const std::filesystem::path& path);

    const DatasetInfo& info() const { return info_; }
    // Images first .. first + count - 1 of a split into images [count, H, W, C].
    void read_images(const std::string& split, index_t first, index_t count, std::uint8_t* images) const;
    // The first `count` labels of a split, each checked to be in 0 .. n_classes - 1.
    std::vector<std::int32_t> read_labels(const std::string& split, index_t count) const;

  private:
    Hdf5File file_;
    DatasetInfo info_;
};

// The file's description, without reading pixels.
DatasetInfo describe_dataset(const std::filesystem::path& path);

// A split in memory, all of it or its first `limit` images. InputError where the file has no such split.
ImageSet load_split(const std::filesystem::path& path, const std::string& split, index_t limit = -1);

// Writes a data set, image by image, atomically: without commit() nothing appears.
class DatasetWriter {
  public:
    // `info` gives name, H, W, C, n_classes (0: no labels) and entropy_bpd; its counts are ignored.
    DatasetWriter(const std::filesystem::path& path, const DatasetInfo& info);

    // images [count, H, W, C]; labels [count], or null when n_classes is 0.
    void append(const std::string& split, index_t count, const std::uint8_t* images,
                const std::int32_t* labels);
    // Error without a training image, or where the disk is full.
    void commit();

  private:
    AtomicFile atomic_;
    Hdf5File file_;
    DatasetInfo info_;
};

}  // namespace glow
