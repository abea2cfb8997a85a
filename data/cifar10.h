// CIFAR-10 in its official binary format. A record is 1 label byte and 3072 pixel bytes: the R, G and B
// planes of a 32 x 32 image (https://www.cs.toronto.edu/~kriz/cifar.html). A file may hold any number of
// records.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/source.h"
#include "kernels/base.h"

namespace glow {

inline constexpr index_t kCifar10Side = 32, kCifar10Channels = 3, kCifar10Pixels = 32 * 32;
inline constexpr index_t kCifar10ImageBytes = kCifar10Pixels * kCifar10Channels;
inline constexpr index_t kCifar10RecordBytes = 1 + kCifar10ImageBytes;
inline constexpr std::int32_t kCifar10Classes = 10;

struct Cifar10File {
    std::filesystem::path path;
    index_t records;
};

// Throws InputError if the file is empty or its size is not a multiple of 3073.
Cifar10File check_cifar10_file(const std::filesystem::path& path);

// The files of a folder in reading order: data_batch_1..5.bin and test_batch.bin (those that exist),
// otherwise train*.bin and test*.bin sorted by name. Also searches the subfolder cifar-10-batches-bin of the
// official archive. If a folder has a file's name, the file of the same name inside it is used.
struct Cifar10Folder {
    std::vector<Cifar10File> train, test;
    index_t train_images() const;
    index_t test_images() const;
};

// Throws InputError if there is no folder or no training file, or if a file is empty, a dangling link, a
// pipe, a folder without the file, or not a multiple of 3073 bytes long.
Cifar10Folder find_cifar10(const std::filesystem::path& folder);

// Reads records first .. first + count - 1: images [count, 32, 32, 3], labels [count] in 0..9. Throws
// InputError for a label above 9 or a file that has shrunk.
void read_cifar10(const Cifar10File& file, index_t first, index_t count, std::uint8_t* images,
                  std::int32_t* labels);

// Training and test files as an ImageSource, read file after file.
class Cifar10Source : public ImageSource {
  public:
    explicit Cifar10Source(Cifar10Folder folder);
    const SourceInfo& info() const override { return info_; }
    void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

  private:
    Cifar10Folder folder_;
    SourceInfo info_;
};

}  // namespace glow
