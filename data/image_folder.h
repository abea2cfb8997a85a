// ImageSource for a folder of photographs, or of subfolders with one class each.
#pragma once

#include <utility>

#include "data/source.h"

namespace glow {

struct ImageFolderOptions {
    index_t size = 0;      // side of the images made, in pixels
    index_t channels = 3;  // 1 or 3
    double test = 0.1;     // fraction of the files drawn by seed for the test part
    std::uint64_t seed = 0;
    index_t limit_train = -1, limit_test = -1;  // maximum images per part, spread over the classes; -1: all
    bool strict = false;                        // unusable files are errors
    int threads = 1;
};

// Reads *.png, *.jpg and *.jpeg files (any case) of a folder in name order, or of its subfolders; two or more
// subfolders become the labels, in name order. Hidden files are ignored, others are counted. Each image is
// decoded, cropped and downscaled when its batch is requested.
// Skipped, or an error with `strict`: files that are damaged, unreadable or smaller than `size`, image names
// that are dangling links, pipes or similar, folders that cannot be listed, and broken links that might be
// class folders. Throws InputError without a folder or an image, or if the folder mixes images and folders of
// images.
class ImageFolder : public ImageSource {
  public:
    ImageFolder(const std::filesystem::path& folder, const ImageFolderOptions& options);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;
    std::vector<std::int32_t> labels(Part part) const override;

    // Subfolder names in class order; empty without labels.
    const std::vector<std::string>& classes() const { return classes_; }
    // Number of files without an image suffix.
    index_t other_files() const { return other_files_; }
    // Classes without a training image, because --limit-train is below the number of classes.
    std::vector<std::string> untrained_classes() const;
    // Returns and clears the list of skipped files with reasons, in order.
    std::vector<std::string> take_skipped() { return std::exchange(skipped_, {}); }

  private:
    struct File {
        std::string name;  // relative to the folder
        std::int32_t label;
    };
    void list(const std::filesystem::path& below, std::int32_t label, std::vector<File>& files,
              std::vector<std::string>* folders);

    std::filesystem::path folder_;
    ImageFolderOptions options_;
    SourceInfo info_;
    std::vector<File> train_, test_;
    void split(std::vector<File> files);
    void limit(std::vector<File>& files, index_t most) const;

    std::vector<std::string> classes_, skipped_;
    index_t other_files_ = 0;
};

}  // namespace glow
