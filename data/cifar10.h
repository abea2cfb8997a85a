// CIFAR-10 in its official binary records: 1 label byte, then 3072 bytes, the planes R, G, B of 32 x 32
// pixels (https://www.cs.toronto.edu/~kriz/cifar.html). Any whole number of records a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "kernels/base.h"
#include "data/source.h"

namespace glow {

inline constexpr index_t kCifar10Side = 32, kCifar10Channels = 3, kCifar10Pixels = 32 * 32;
inline constexpr index_t kCifar10ImageBytes = kCifar10Pixels * kCifar10Channels;
inline constexpr index_t kCifar10RecordBytes = 1 + kCifar10ImageBytes;
inline constexpr std::int32_t kCifar10Classes = 10;

struct Cifar10File {
    std::filesystem::path path;
    index_t records;
};

// A file of records. InputError where it is empty or its size is no multiple of 3073.
Cifar10File check_cifar10_file(const std::filesystem::path& path);

// The files of a folder, in the order in which they are read: data_batch_1..5.bin and test_batch.bin,
// whichever are there, else train*.bin and test*.bin, sorted by name. Also looks in the folder's
// cifar-10-batches-bin, the name within the official archive. Where a folder has a file's name, the file of
// this name in it counts.
struct Cifar10Folder {
    std::vector<Cifar10File> train, test;
    index_t train_images() const;
    index_t test_images() const;
};

// InputError: no such folder, no training file, a file that is empty or whose size is no multiple of 3073, a
// name that is a dangling link, a folder without the file, a pipe.
Cifar10Folder find_cifar10(const std::filesystem::path& folder);

// Records first .. first + count - 1: images [count, 32, 32, 3], labels [count] in 0..9. InputError: a label
// above 9, or a file shorter than it was.
void read_cifar10(const Cifar10File& file, index_t first, index_t count, std::uint8_t* images,
                  std::int32_t* labels);

// Both parts as a source, file after file.
class Cifar10Source : public ImageSource {
  public:
    explicit Cifar10Source(Cifar10Folder folder);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

  private:
    Cifar10Folder folder_;
    SourceInfo info_;
};

}  // namespace glow
