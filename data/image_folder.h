// ImageSource of images from a folder of photographs and its subfolders.
#pragma once

#include <map>
#include <optional>
#include <utility>

#include "data/formats/photo.h"
#include "data/photo_files.h"
#include "data/source.h"

namespace glow {

struct ImageFolderOptions {
    index_t size = 0;      // side of the resulting images in pixels; their height if `width` is set
    index_t width = 0;     // 0: size; crops and tiles are squares
    index_t channels = 3;  // 1 or 3
    double test = 0.1;     // fraction of the files drawn by seed for the test split
    std::uint64_t seed = 0;
    index_t limit_train = -1, limit_test = -1;  // maximum images per split, spread over the classes; -1: all
    bool strict = false;                        // unusable files are errors
    int threads = 1;

    // Whether subfolders are classes. Default: yes if there are at least two and no image next to them.
    std::optional<bool> classes = {};
    index_t crops = 0;      // random squares per file; 0: the largest centered part
    bool tile = false;      // instead of crops: a centered grid of as many squares as fit
    double overlap = 0;     // of neighboring tiles, as a fraction of their side, 0 to below 1
    index_t crop_side = 0;  // side of crops and tiles before scaling, in pixels; 0: size
};

// Reads the photographs (is_photo_name) of a folder and its subfolders, sorted by path. Hidden entries are
// ignored, other files are counted. A file with several names, which are links, is read once. Links to
// folders are followed unless the folder is read anyway. Batches are decoded, cropped and scaled on request;
// all images of a file belong to the same split.
//
// Skipped, or an error with `strict`: files that are damaged, unreadable or smaller than one square, image
// names that are dangling links, pipes or similar, folders that cannot be listed, and with `classes` images
// outside a subfolder. Throws InputError without a folder or an image, if classes are requested and there
// are fewer than two, if a class cannot be read at all, or if a file has names in two classes, also through a
// link to a folder.
class ImageFolder : public ImageSource {
  public:
    ImageFolder(const std::filesystem::path& folder, const ImageFolderOptions& options);
    const SourceInfo& info() const override { return info_; }
    void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;
    std::vector<std::int32_t> labels(SourceSplit split) const override;
    std::vector<index_t> groups(SourceSplit split) const override;
    // The file's path relative to the folder; for crops and tiles with the square:
    // "holiday/1.jpg[64x64+128+0]" (width x height + x + y in the upright photograph).
    std::string name(SourceSplit split, index_t n) const override;

    // Files in use: training and test.
    std::vector<std::filesystem::path> files() const;
    // Subfolder names in class order; empty without classes.
    const std::vector<std::string>& classes() const { return classes_; }
    // Numbers of files without an image suffix, by suffix.
    const std::map<std::string, index_t>& other_files() const { return other_files_; }
    // Further names of the files; the images are read only once.
    const std::vector<PhotoFiles::Repeat>& repeats() const { return repeats_; }
    // Classes without a training image, because --limit-train is below the number of classes.
    std::vector<std::string> untrained_classes() const;
    // Returns and clears the list of skipped files with reasons, in order.
    std::vector<std::string> take_skipped() { return std::exchange(skipped_, {}); }

  private:
    struct File {
        std::string name;  // path relative to the folder
        std::int32_t label = 0;
        index_t H = 0, W = 0;  // size of a tiled photograph
    };
    // One image of a split: image `number` of a file.
    struct Item {
        index_t file;
        index_t number;
        Crop crop{};  // known after reading
    };

    void set_classes();
    void require_all_classes() const;
    void give_one_class_each();
    void measure();
    void draw_test_files();
    index_t images_of(const File& file) const;
    // What image `number` of a file shows of its photograph of H x W pixels; none if that is too small.
    std::optional<Crop> crop_of(index_t file, index_t number, index_t H, index_t W) const;
    bool whole() const { return !options_.tile && options_.crops == 0; }
    // The size of the images made, and of the smallest photograph that yields one.
    ImageSize made() const { return {options_.size, options_.width > 0 ? options_.width : options_.size}; }
    ImageSize smallest() const { return whole() ? made() : ImageSize{side_, side_}; }
    void limit(std::vector<Item>& items, index_t most) const;
    const std::vector<Item>& items(SourceSplit split) const {
        return split == SourceSplit::train ? train_ : test_;
    }

    std::filesystem::path folder_;
    ImageFolderOptions options_;
    index_t side_;  // of crops and tiles
    SourceInfo info_;
    std::vector<File> files_;
    std::vector<Item> train_, test_;
    std::vector<std::string> classes_, skipped_;
    std::map<std::string, index_t> other_files_;
    std::vector<PhotoFiles::Repeat> repeats_, folder_repeats_;
    std::vector<PhotoFiles::Unreadable> unreadable_;
};

}  // namespace glow
