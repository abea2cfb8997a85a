// Data sets of 8-bit images (docs/formats.md): /train/images and optionally /valid and /test, uint8 [N, H, W,
// C] with C in 1..4, optional labels (int32 [N], attribute n_classes) and names (strings [N]), in one HDF5
// file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"

namespace glow {

// "train", "valid", "test"
inline constexpr const char* kSplits[] = {"train", "valid", "test"};
inline constexpr std::int32_t kMaxClasses = 1 << 20;

// Contents of a data set file. A missing split has 0 images; n_classes is 0 without labels.
struct DatasetInfo {
    std::string name;
    index_t H = 0, W = 0, C = 0;
    index_t train = 0, valid = 0, test = 0;
    bool train_labels = false, valid_labels = false, test_labels = false;
    bool train_names = false, valid_names = false, test_names = false;
    std::int32_t n_classes = 0;
    std::optional<double> entropy_bpd;  // bits/dim, of synthetic sets

    // Throws InputError for any other name.
    index_t images(const std::string& split) const;
    bool labels(const std::string& split) const;
    bool names(const std::string& split) const;
};

// Images in memory. Without labels, `labels` is empty and n_classes is 0.
struct ImageSet {
    index_t N = 0, H = 0, W = 0, C = 0;
    std::vector<std::uint8_t> images;  // [N, H, W, C]
    std::vector<std::int32_t> labels;  // [N], 0 .. n_classes - 1
    std::int32_t n_classes = 0;

    index_t image_bytes() const { return H * W * C; }
    const std::uint8_t* image(index_t n) const { return images.data() + n * image_bytes(); }
};

// An open data set. The constructor checks everything except pixel and label values: format, version, types,
// shapes, equal H, W, C in all splits, at least one image in each. Throws InputError.
class DatasetReader {
  public:
    explicit DatasetReader(const std::filesystem::path& path);

    const DatasetInfo& info() const { return info_; }
    // Chunk layout of an existing split.
    ChunkInfo chunks(const std::string& split) const { return file_.chunks("/" + split + "/images"); }
    // Images first .. first + count - 1 of a split into images [count, H, W, C].
    void read_images(const std::string& split, index_t first, index_t count, std::uint8_t* images) const;
    // Reads images by number: numbers [count] -> images [count, H, W, C]. Efficient for a few images out of
    // many, fastest in increasing order.
    void read_scattered(const std::string& split, const index_t* numbers, index_t count,
                        std::uint8_t* images) const;
    // The first `count` labels of a split, checked to be in 0 .. n_classes - 1.
    std::vector<std::int32_t> read_labels(const std::string& split, index_t count) const;
    // Names of the first `count` images of a split; empty if the file has none.
    std::vector<std::string> read_names(const std::string& split, index_t count) const;

  private:
    Hdf5File file_;
    DatasetInfo info_;
};

// "9 of the 10 classes have no training image, so a conditional model does not learn them: 0, 1, ..."; empty if
// there are none, or no labels.
std::string describe_empty_classes(const DatasetReader& reader);

// Describes a file without reading pixels.
DatasetInfo describe_dataset(const std::filesystem::path& path);

// Loads a split, or its first `limit` images, into memory. Throws InputError if the file lacks the split.
ImageSet load_split(const std::filesystem::path& path, const std::string& split, index_t limit = -1);

// Images of a split by number, either in memory or read from disk on demand. Labels are always in memory.
class SplitImages {
  public:
    SplitImages(ImageSet set);  // not explicit: an ImageSet converts to SplitImages
    // Leaves the images on disk: a split or its first `limit` images. Throws InputError if it does not exist.
    SplitImages(const std::filesystem::path& path, const std::string& split, index_t limit = -1);

    // Shape and labels; `images` is empty if the pixels stay on disk.
    const ImageSet& set() const { return set_; }
    index_t N() const { return set_.N; }
    bool on_disk() const { return reader_ != nullptr; }
    // Labels from image `first` on; null without labels.
    const std::int32_t* labels(index_t first) const {
        return set_.labels.empty() ? nullptr : set_.labels.data() + first;
    }
    // numbers [count] -> pixels [count, H, W, C]. Not thread-safe.
    void gather(const index_t* numbers, index_t count, std::uint8_t* pixels) const;

  private:
    ImageSet set_;
    std::string split_;
    std::unique_ptr<DatasetReader> reader_;
};

// Writes a data set image by image. Atomic: no file appears before commit().
class DatasetWriter {
  public:
    // `info` supplies name, H, W, C, n_classes (0: no labels) and entropy_bpd; its counts are ignored.
    DatasetWriter(const std::filesystem::path& path, const DatasetInfo& info);

    // images [count, H, W, C]; labels [count], or null when n_classes is 0; names: `count` of them, or none
    // in all calls.
    void append(const std::string& split, index_t count, const std::uint8_t* images,
                const std::int32_t* labels, const std::vector<std::string>& names = {});
    // Throws Error without a training image, or if the disk is full.
    void commit();

  private:
    AtomicFile atomic_;
    Hdf5File file_;
    DatasetInfo info_;
    std::map<std::string, std::vector<std::string>> names_;  // by split; written by commit()
};

}  // namespace glow
