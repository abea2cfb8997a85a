// A folder of photographs, or of folders of them, one a class, as a source.
#pragma once

#include <utility>

#include "data/source.h"

namespace glow {

struct ImageFolderOptions {
    index_t size = 0;      // side of the images made, in pixels
    index_t channels = 3;  // 1 or 3
    double test = 0.1;     // part of the files that becomes the test part, drawn by seed
    std::uint64_t seed = 0;
    index_t limit_train = -1, limit_test = -1;  // most images of a part, spread over the classes; -1: all
    bool strict = false;                        // a file that cannot be used is an error
    int threads = 1;
};

// The files *.png, *.jpg and *.jpeg (in any case) of a folder in the order of their names, or else of the
// folders in it: with two and more of these, labels are their order. Hidden files are left alone, and others
// counted. Each is decoded, cropped and shrunk when its batch is asked for. What is left out, or with
// `strict` refused: a file that is damaged, unreadable or smaller than `size`, an image's name that is a
// dangling link, a pipe or the like, a folder that cannot be listed, and every broken link that could be a
// class folder. InputError: no such folder, no image, images beside folders of images.
class ImageFolder : public ImageSource {
  public:
    ImageFolder(const std::filesystem::path& folder, const ImageFolderOptions& options);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;
    std::vector<std::int32_t> labels(Part part) const override;

    // Class by class, the folders' names; empty without labels.
    const std::vector<std::string>& classes() const { return classes_; }
    // Files in the folders that are not called images.
    index_t other_files() const { return other_files_; }
    // The classes of which no image is in the training part: --limit-train is below the number of classes.
    std::vector<std::string> untrained_classes() const;
    // What was left out so far and why, in order; the list is then emptied.
    std::vector<std::string> take_skipped() { return std::exchange(skipped_, {}); }

  private:
    struct File {
        std::string name;  // below the folder
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
