// Files of losslessly compressed images (F.glow): a header, the batches, the stack of bits, a check sum.
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

// Of the weights in use and of the model's shape: the same numbers, the same fingerprint.
std::uint64_t fingerprint(LoadedModel& model);

inline constexpr std::uint32_t kLargestBatch = 4096;  // images of a file that pass the networks together

struct CompressedImages {
    index_t images = 0, H = 0, W = 0, C = 0;
    int n_bits = 8;
    // What decoding must have in common with encoding.
    std::uint64_t model = 0;  // fingerprint
    bool ema = false;
    Precision precision = Precision::fp32;
    int threads = 1;
    std::uint64_t pixels = 0;  // fingerprint of the images [N, H, W, C]
    // Images that passed the networks together, first batch first. They lie on the stack last first.
    std::vector<std::uint32_t> batches;
    std::uint64_t supplied = 0, head = 0;  // of the stack
    std::vector<std::uint32_t> words;

    std::uint64_t bytes() const;  // of the file
    std::uint64_t start_up()
        const;  // of these: header, batches, check sum, and words that the stack began with
};

// Atomic. InputError: cannot be written there; Error: disk full.
void write_compressed(const std::filesystem::path& path, const CompressedImages& images);
// InputError: missing, not such a file, cut short, or one whose check sum is not that of its bytes.
CompressedImages read_compressed(const std::filesystem::path& path);

// All images of a set, at most `batch` at once: as many as the stack has bits to lend, the last ones first,
// so that the first come off first. progress(images done) may be empty.
CompressedImages compress(LoadedModel& model, const ImageSet& set, int threads, Precision precision,
                          const std::function<void(index_t)>& progress = {});
// f(first image, count, pixels [count, H, W, C]), in order. InputError where the images are of another model;
// Error, at the end, where what came out is not what went in: another build, machine or number of threads.
void decompress(LoadedModel& model, const CompressedImages& images,
                const std::function<void(index_t, index_t, const std::uint8_t*)>& f);

}  // namespace glow
