// Losslessly compressed images (F.glow): a header, the batches, the bit stack, the photographs if the images
// are their tiles (photo_archive.h), a checksum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/formats/fingerprint.h"
#include "inference/loaded_model.h"
#include "inference/lossless.h"

namespace glow {

inline constexpr std::uint32_t kMaxBatch = 4096;  // limit on the images of a batch

struct CompressedPhoto {
    // Where decompressing writes it, relative to the output folder: "holiday/1.png".
    std::string name;
    index_t H = 0, W = 0;      // without padding
    bool gray = false;         // written with one channel
    std::uint64_t pixels = 0;  // fingerprint of the pixels [H, W, C], C of the model

    // Number of tiles of H x W pixels.
    index_t tiles(index_t tile_H, index_t tile_W) const;
};

// What is wrong with the name of a photograph in an archive. Empty if it is a relative path of a PNG file
// that does not leave its folder.
std::string photo_name_problem(const std::string& name);

struct CompressedImages {
    index_t images = 0, H = 0, W = 0, C = 0;
    int n_bits = 8;
    // Decoding must use the same values as encoding.
    std::uint64_t model = 0;  // fingerprint
    bool ema = false;
    Precision precision = Precision::fp32;
    int threads = 1;
    std::uint64_t pixels = 0;  // fingerprint of the images [N, H, W, C]; unused with photographs
    // Images per batch, first batch first. The stack holds them in reverse order.
    std::vector<std::uint32_t> batches;
    std::uint64_t supplied = 0, head = 0;  // state of the stack
    std::vector<std::uint32_t> words;
    std::vector<CompressedPhoto> photos;  // the images are their tiles, in order; empty: images of a data set

    std::uint64_t bytes() const;     // file size
    std::uint64_t start_up() const;  // overhead: all but the words that the images add
};

// Writes atomically. Throws InputError if the file cannot be written, Error if the disk is full.
void write_compressed(const std::filesystem::path& path, const CompressedImages& images);
// Throws InputError if the file is missing, of another kind, truncated, or fails its checksum.
CompressedImages read_compressed(const std::filesystem::path& path);

// Images [N, H, W, C] to compress, read from the last to the first.
struct ImageStream {
    index_t N = 0;
    const std::int32_t* labels = nullptr;  // [N] for a conditional model
    std::function<void(index_t first, index_t count, std::uint8_t* pixels)> read;
};

// Compresses images, the last ones first, so that decoding returns the first ones first. Bits-back coding
// borrows bits from the images coded before, which limits the size of a batch. The caller sets `pixels` and
// `photos` of the result. progress(images done) may be empty. Throws InputError if the images have more bits
// per pixel than the model.
CompressedImages compress(LoadedModel& model, const ImageStream& images, int threads, Precision precision,
                          const std::function<void(index_t)>& progress = {});
CompressedImages compress(LoadedModel& model, const ImageSet& set, int threads, Precision precision,
                          const std::function<void(index_t)>& progress = {});

// Calls f(first image, count, pixels [count, H, W, C]) in order, without comparing pixels with the originals.
// all_labels, if given: appends the images' classes, which the files of conditional models hold. Throws
// InputError if the file belongs to another model, and Error if the stack does not decode.
void decode_batches(LoadedModel& model, const CompressedImages& images,
                    const std::function<void(index_t, index_t, const std::uint8_t*)>& f,
                    std::vector<std::int32_t>* all_labels = nullptr);
// The same for images of a data set; throws Error, at the end, if the pixels differ from the originals.
void decompress(LoadedModel& model, const CompressedImages& images,
                const std::function<void(index_t, index_t, const std::uint8_t*)>& f,
                std::vector<std::int32_t>* all_labels = nullptr);
// Throws Error: the pixels differ from the originals, because of another number of threads, build or
// processor.
[[noreturn]] void refuse_other_pixels(LoadedModel& model, const CompressedImages& images);

}  // namespace glow
