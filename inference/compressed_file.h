// Losslessly compressed images (F.glow): a header, the batches, the bit stack, a checksum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/formats/fingerprint.h"
#include "inference/inference.h"
#include "inference/lossless.h"

namespace glow {

// Fingerprint of the model's shape and the weights in use.
std::uint64_t fingerprint(LoadedModel& model);

inline constexpr std::uint32_t kLargestBatch = 4096;  // limit on the images of a batch

struct CompressedImages {
    index_t images = 0, H = 0, W = 0, C = 0;
    int n_bits = 8;
    // Decoding must use the same values as encoding.
    std::uint64_t model = 0;  // fingerprint
    bool ema = false;
    Precision precision = Precision::fp32;
    int threads = 1;
    std::uint64_t pixels = 0;  // fingerprint of the images [N, H, W, C]
    // Images per batch, first batch first. The stack holds them in reverse order.
    std::vector<std::uint32_t> batches;
    std::uint64_t supplied = 0, head = 0;  // state of the stack
    std::vector<std::uint32_t> words;

    std::uint64_t bytes() const;     // file size
    std::uint64_t start_up() const;  // overhead: header, batches, checksum and initial stack words
};

// Writes atomically. Throws InputError if the file cannot be written, Error if the disk is full.
void write_compressed(const std::filesystem::path& path, const CompressedImages& images);
// Throws InputError if the file is missing, of another kind, truncated, or fails its checksum.
CompressedImages read_compressed(const std::filesystem::path& path);

// Compresses a set in batches of at most `batch` images, limited by the bits available to borrow, last images
// first, so that decoding returns the first ones first. progress(images done) may be empty.
CompressedImages compress(LoadedModel& model, const ImageSet& set, int threads, Precision precision,
                          const std::function<void(index_t)>& progress = {});
// Calls f(first image, count, pixels [count, H, W, C]) in order. Throws InputError if the file belongs to
// another model, and Error, at the end, if the result differs from the original because of another build,
// machine or number of threads.
void decompress(LoadedModel& model, const CompressedImages& images,
                const std::function<void(index_t, index_t, const std::uint8_t*)>& f);

}  // namespace glow
