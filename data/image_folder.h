// A folder of photographs, with all folders below it, as a source of square images.
#pragma once

#include <map>
#include <optional>
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

    // Are the folders in the folder classes? Unless told: yes where there are two or more and no image beside them.
    std::optional<bool> classes = {};
    index_t crops = 0;      // random squares of each file; 0: the largest square in the middle
    bool tile = false;      // instead: a grid of squares, as many as fit, in the middle of the file
    double overlap = 0;     // of neighboring tiles, part of their side, 0 to below 1
    index_t crop_side = 0;  // side of crops and tiles before scaling, in pixels; 0: size
};

// The images *.png, *.jpg and *.jpeg (in any case) of a folder and of the folders in it, sorted by path. Hidden entries are
// left out, other files are counted. A link to a folder is followed unless the folder is read anyway. A batch is decoded,
// cropped and shrunk when it is asked for; all images of a file are on the same side of every split.
//
// Left out, or with `strict` refused: a file that is damaged, unreadable or smaller than a square of it, an image's name
// that is a dangling link, a pipe or the like, a folder that cannot be listed, and with `classes` images in no folder.
// InputError: no such folder, no image in it, fewer than two classes where they are asked for.
class ImageFolder : public ImageSource {
  public:
    ImageFolder(const std::filesystem::path& folder, const ImageFolderOptions& options);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;
    std::vector<std::int32_t> labels(Part part) const override;
    std::vector<index_t> groups(Part part) const override;
    // The file's path below the folder; of a crop or tile with its square: "holiday/1.jpg[64x64+128+0]" (width x height + x + y
    // in the upright photograph).
    std::string name(Part part, index_t n) const override;

    // The files that are used, training and test.
    std::vector<std::filesystem::path> files() const;
    // Class by class, the folders' names; empty without classes.
    const std::vector<std::string>& classes() const { return classes_; }
    // Files that are not called images, by their endings.
    const std::map<std::string, index_t>& other_files() const { return other_files_; }
    // The classes of which no image is in the training part: --limit-train is below the number of classes.
    std::vector<std::string> untrained_classes() const;
    // What was left out so far and why, in order; the list is then emptied.
    std::vector<std::string> take_skipped() { return std::exchange(skipped_, {}); }

  private:
    struct File {
        std::string name;  // path below the folder
        std::int32_t label = 0;
        index_t H = 0, W = 0;  // of a photograph that is tiled
    };
    struct Square {
        index_t x = 0, y = 0, side = 0;
    };
    // One image of a part: number `crop` of a file.
    struct Item {
        index_t file;
        index_t crop;
        Square square{};  // known once it was read
    };

    void list(const std::filesystem::path& below, std::vector<File>& files,
              std::vector<std::filesystem::path>& links);
    void list_all(std::vector<File>& files);
    void set_classes();
    void measure();
    void split();
    index_t images_of(const File& file) const;
    std::optional<Square> square_of(index_t file, index_t crop, index_t H, index_t W) const;
    void limit(std::vector<Item>& items, index_t most) const;
    const std::vector<Item>& items(Part part) const { return part == Part::train ? train_ : test_; }

    std::filesystem::path folder_;
    ImageFolderOptions options_;
    index_t side_;  // of crops and tiles
    SourceInfo info_;
    std::vector<File> files_;
    std::vector<Item> train_, test_;
    std::vector<std::string> classes_, skipped_;
    std::map<std::string, index_t> other_files_;
};

}  // namespace glow
