// Little-endian: "GLOWBITS", version, the members in order, and a checksum of everything before it. Version 2
// adds the photographs; files without them keep version 1.
#include "inference/compressed_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <set>
#include <string_view>

#include "data/formats/atomic_file.h"
#include "data/formats/input_path.h"
#include "data/formats/output_name.h"
#include "data/formats/png.h"
#include "inference/model_fingerprint.h"
#include "kernels/error.h"
#include "runtime/threads.h"

namespace glow {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written in memory order");

constexpr char kMagic[] = "GLOWBITS";
constexpr std::uint32_t kVersion = 1, kPhotoVersion = 2;
constexpr std::size_t kPhotoBytes = 4 + 4 + 4 + 4 + 8;  // of a photograph, without its name
constexpr std::size_t kHeaderBytes = 8 + 4 + 4 * 4 + 8 + 8 + 4 * 3 + 8 + 8 + 8 + 8 + 8;

class Writer {
  public:
    template <class T>
    void number(std::uint64_t value) {
        const T number = static_cast<T>(value);
        bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
    void text(const std::string& text) {
        number<std::uint32_t>(text.size());
        bytes_ += text;
    }
    void words(const std::vector<std::uint32_t>& words) {
        bytes_.append(reinterpret_cast<const char*>(words.data()), 4 * words.size());
    }
    std::string bytes_;
};

class Reader {
  public:
    explicit Reader(const std::string& bytes) : bytes_(bytes) {}
    template <class T>
    T number() {
        T value{};
        std::memcpy(&value, bytes_.data() + at_, sizeof value);
        at_ += sizeof value;
        return value;
    }
    std::string text(std::size_t length) {
        at_ += length;
        return bytes_.substr(at_ - length, length);
    }
    std::vector<std::uint32_t> words(std::uint64_t count) {
        std::vector<std::uint32_t> words(static_cast<std::size_t>(count));
        if (count > 0)
            std::memcpy(words.data(), bytes_.data() + at_, 4 * words.size());  // an empty vector may be null
        at_ += 4 * words.size();
        return words;
    }
    std::size_t left() const { return bytes_.size() - at_; }

  private:
    const std::string& bytes_;
    std::size_t at_ = sizeof kMagic - 1;
};

// The section of version 2: the number of photographs and their members.
std::uint64_t photo_section_bytes(const std::vector<CompressedPhoto>& photos) {
    if (photos.empty()) return 0;
    std::uint64_t bytes = 4;
    for (const CompressedPhoto& photo : photos) bytes += kPhotoBytes + photo.name.size();
    return bytes;
}

void write_photos(Writer& writer, const std::vector<CompressedPhoto>& photos) {
    writer.number<std::uint32_t>(photos.size());
    for (const CompressedPhoto& photo : photos) {
        writer.text(photo.name);
        writer.number<std::uint32_t>(static_cast<std::uint64_t>(photo.H));
        writer.number<std::uint32_t>(static_cast<std::uint64_t>(photo.W));
        writer.number<std::uint32_t>(photo.gray);
        writer.number<std::uint64_t>(photo.pixels);
    }
}

// Appends to `photos`; returns an error message, or an empty string. `end`: bytes after the section.
std::string read_photos(Reader& reader, std::size_t end, std::vector<CompressedPhoto>& photos) {
    const std::string truncated = "the list of its photographs is truncated";
    if (reader.left() < end + 4) return truncated;
    std::set<std::string> names;
    const auto count = reader.number<std::uint32_t>();
    for (std::uint32_t n = 0; n < count; ++n) {
        if (reader.left() < end + kPhotoBytes) return truncated;
        const auto length = reader.number<std::uint32_t>();
        if (reader.left() < end + kPhotoBytes - 4 + length) return truncated;
        CompressedPhoto& photo = photos.emplace_back();
        photo.name = reader.text(length);
        photo.H = reader.number<std::uint32_t>();
        photo.W = reader.number<std::uint32_t>();
        photo.gray = reader.number<std::uint32_t>() != 0;
        photo.pixels = reader.number<std::uint64_t>();
        if (const std::string problem = photo_name_problem(photo.name); !problem.empty())
            return fmt::format("it has a photograph named \"{}\", which {}", photo.name, problem);
        if (!names.insert(photo.name).second)
            return fmt::format("it has two photographs named \"{}\"", photo.name);
        if (photo.H < 1 || photo.W < 1 || photo.H > kPngSideLimit || photo.W > kPngSideLimit ||
            photo.H * photo.W > kPngPixelLimit)
            return fmt::format("the size of {} is out of range", photo.name);
    }
    if (count == 0) return "it has no photographs";
    return reader.left() == end ? "" : "its parts do not add up to its length";
}

}  // namespace

index_t CompressedPhoto::tiles(index_t tile_H, index_t tile_W) const {
    return ((H + tile_H - 1) / tile_H) * ((W + tile_W - 1) / tile_W);
}

std::string photo_name_problem(const std::string& name) {
    constexpr std::size_t kLongest = 4096;
    if (name.empty() || name.size() > kLongest) return "is empty or too long";
    if (name.find('\0') != std::string::npos) return "contains a zero byte";
    if (name.front() == '/') return "is an absolute path";
    for (std::size_t begin = 0; begin <= name.size();) {
        const std::size_t end = std::min(name.find('/', begin), name.size());
        const std::string part = name.substr(begin, end - begin);
        if (part.empty() || part == "." || part == "..") return "is no plain path below a folder";
        begin = end + 1;
    }
    if (!is_png_name(name)) return "does not end in .png";
    return "";
}

std::uint64_t CompressedImages::bytes() const {
    return kHeaderBytes + 4 * (batches.size() + words.size()) + photo_section_bytes(photos) + 8;
}

std::uint64_t CompressedImages::start_up() const {
    return kHeaderBytes + 4 * (batches.size() + supplied) + photo_section_bytes(photos) + 8;
}

void write_compressed(const std::filesystem::path& path, const CompressedImages& images) {
    Writer writer;
    writer.bytes_ = kMagic;
    writer.number<std::uint32_t>(images.photos.empty() ? kVersion : kPhotoVersion);
    for (const index_t extent : {images.H, images.W, images.C, index_t{images.n_bits}})
        writer.number<std::uint32_t>(static_cast<std::uint64_t>(extent));
    writer.number<std::uint64_t>(static_cast<std::uint64_t>(images.images));
    writer.number<std::uint64_t>(images.model);
    writer.number<std::uint32_t>(images.ema);
    writer.number<std::uint32_t>(static_cast<std::uint64_t>(images.precision));
    writer.number<std::uint32_t>(static_cast<std::uint64_t>(images.threads));
    writer.number<std::uint64_t>(images.pixels);
    writer.number<std::uint64_t>(images.supplied);
    writer.number<std::uint64_t>(images.head);
    writer.number<std::uint64_t>(images.batches.size());
    writer.number<std::uint64_t>(images.words.size());
    writer.words(images.batches);
    writer.words(images.words);
    if (!images.photos.empty()) write_photos(writer, images.photos);
    writer.number<std::uint64_t>(fingerprint(writer.bytes_.data(), writer.bytes_.size()));
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        std::ofstream file(temporary, std::ios::binary);
        file.write(writer.bytes_.data(), std::ssize(writer.bytes_));
        close_written(file, path);
    });
}

namespace {

[[noreturn]] void refuse_file(const std::filesystem::path& path, const std::string& what) {
    throw InputError(fmt::format("{}: not usable as compressed images: {}", path.string(), what));
}

// The file, with its checksum compared.
std::string checked_bytes(const std::filesystem::path& path) {
    const auto refuse = [&](const std::string& what) { refuse_file(path, what); };
    std::string bytes = read_file(path);
    if (!bytes.starts_with(kMagic)) refuse("it does not start with " + std::string(kMagic));
    if (bytes.size() < kHeaderBytes + 8) refuse("it is truncated");
    std::uint64_t expected;
    std::memcpy(&expected, bytes.data() + bytes.size() - 8, 8);
    if (fingerprint(bytes.data(), bytes.size() - 8) != expected)
        refuse("its checksum does not match: damaged or truncated");
    return bytes;
}

}  // namespace

CompressedImages read_compressed(const std::filesystem::path& path) {
    const auto refuse = [&](const std::string& what) { refuse_file(path, what); };
    const std::string bytes = checked_bytes(path);
    Reader reader(bytes);
    CompressedImages images;
    const auto version = reader.number<std::uint32_t>();
    if (version != kVersion && version != kPhotoVersion)
        refuse(fmt::format("it has version {}, but this program reads versions {} and {}", version, kVersion,
                           kPhotoVersion));
    images.H = reader.number<std::uint32_t>();
    images.W = reader.number<std::uint32_t>();
    images.C = reader.number<std::uint32_t>();
    const auto n_bits = reader.number<std::uint32_t>();
    const auto count = reader.number<std::uint64_t>();
    images.model = reader.number<std::uint64_t>();
    images.ema = reader.number<std::uint32_t>() != 0;
    const auto precision = reader.number<std::uint32_t>();
    const auto threads = reader.number<std::uint32_t>();
    images.pixels = reader.number<std::uint64_t>();
    images.supplied = reader.number<std::uint64_t>();
    images.head = reader.number<std::uint64_t>();
    const auto batches = reader.number<std::uint64_t>();
    const auto words = reader.number<std::uint64_t>();
    const std::uint64_t left = (reader.left() - 8) / 4;
    if (batches > left || words > left - batches) refuse("its parts do not add up to its length");
    images.batches = reader.words(batches);
    images.words = reader.words(words);
    if (version == kPhotoVersion) {
        const std::string problem = read_photos(reader, 8, images.photos);
        if (!problem.empty()) refuse(problem);
    }
    if (reader.left() != 8) refuse("its parts do not add up to its length");
    std::uint64_t sum = 0;
    for (const std::uint32_t batch : images.batches) {
        if (batch == 0 || batch > kMaxBatch) refuse("a batch is out of range");
        sum += batch;
    }
    if (count == 0 || count != sum) refuse("its batches do not add up to its images");
    if (n_bits < 1 || n_bits > 8 || precision > static_cast<std::uint32_t>(Precision::bf16) || threads < 1 ||
        threads > std::uint32_t{kMaxThreads})
        refuse("a value is out of range");
    if (version == kPhotoVersion) {
        if (images.H < 1 || images.W < 1) refuse("a value is out of range");
        std::uint64_t tiles = 0;
        for (const CompressedPhoto& photo : images.photos)
            tiles += static_cast<std::uint64_t>(photo.tiles(images.H, images.W));
        if (tiles != count) refuse("its photographs do not add up to its images");
    }
    images.images = static_cast<index_t>(count);
    images.n_bits = static_cast<int>(n_bits);
    images.precision = static_cast<Precision>(precision);
    images.threads = static_cast<int>(threads);
    return images;
}

CompressedImages compress(LoadedModel& model, const ImageStream& images, int threads, Precision precision,
                          const std::function<void(index_t)>& progress) {
    const ModelConfig& config = model.glow().config();
    const std::uint8_t lost = static_cast<std::uint8_t>((1 << (8 - config.n_bits)) - 1);
    LosslessCoder coder(model);
    BitStack stack;
    CompressedImages out;
    std::vector<std::uint8_t> pixels;
    // The first batch is one image, which borrows from the supply; later batches borrow from the stack
    // itself.
    double lent_per_image = 0;
    index_t left = images.N;
    while (left > 0) {
        const double affordable = lent_per_image > 0 ? static_cast<double>(stack.bits()) / lent_per_image : 1;
        const index_t count = std::clamp<index_t>(static_cast<index_t>(affordable), 1,
                                                  std::min(left, model.buffers().capacity));
        left -= count;
        pixels.resize(static_cast<std::size_t>(count * config.dimensions()));
        images.read(left, count, pixels.data());
        if (std::any_of(pixels.begin(), pixels.end(), [&](std::uint8_t pixel) { return pixel & lost; }))
            throw InputError(
                fmt::format("the model uses {} bits per pixel but these images have more: they "
                            "cannot be coded without loss",
                            config.n_bits));
        const std::uint64_t lent = coder
                                       .encode(stack, count, pixels.data(),
                                               images.labels == nullptr ? nullptr : images.labels + left)
                                       .bits;
        lent_per_image =
            std::max(lent_per_image, 1.02 * static_cast<double>(lent) / static_cast<double>(count));
        out.batches.push_back(static_cast<std::uint32_t>(count));
        if (progress) progress(images.N - left);
    }
    std::reverse(out.batches.begin(), out.batches.end());
    out.images = images.N;
    out.H = config.image_height;
    out.W = config.image_width;
    out.C = config.channels;
    out.n_bits = config.n_bits;
    out.model = fingerprint(model);
    out.ema = model.used_ema();
    out.precision = precision;
    out.threads = threads;
    out.supplied = stack.supplied();
    out.head = stack.head();
    out.words = stack.words();
    return out;
}

CompressedImages compress(LoadedModel& model, const ImageSet& set, int threads, Precision precision,
                          const std::function<void(index_t)>& progress) {
    const ImageStream stream{set.N, set.labels.empty() ? nullptr : set.labels.data(),
                             [&](index_t first, index_t count, std::uint8_t* pixels) {
                                 std::copy_n(set.image(first), count * set.image_bytes(), pixels);
                             }};
    CompressedImages out = compress(model, stream, threads, precision, progress);
    out.pixels = fingerprint(set.images.data(), static_cast<std::size_t>(set.N * set.image_bytes()));
    return out;
}

void refuse_other_pixels(LoadedModel& model, const CompressedImages& images) {
    if (const int threads = model.context().exec.threads; threads != images.threads)
        throw Error(fmt::format(
            "the decompressed images differ from the originals: matrix products may depend on the number of "
            "threads, which was {} when they were compressed and is {} here; decompress where {} can run",
            images.threads, threads, images.threads));
    throw Error(
        "the decompressed images differ from the originals: this build or machine gives different floating-point "
        "results; decompress with the same build on the same kind of processor");
}

void decode_batches(LoadedModel& model, const CompressedImages& images,
                    const std::function<void(index_t, index_t, const std::uint8_t*)>& f,
                    std::vector<std::int32_t>* all_labels) {
    if (fingerprint(model) != images.model)
        throw InputError(
            "these images were compressed with different weights: use the checkpoint that compressed them");
    LosslessCoder coder(model);
    BitStack stack(images.words, images.head, images.supplied);
    std::vector<std::uint8_t> pixels;
    std::vector<std::int32_t> labels;
    index_t first = 0;
    for (const std::uint32_t count : images.batches) {
        pixels.resize(static_cast<std::size_t>(count) *
                      static_cast<std::size_t>(images.H * images.W * images.C));
        labels.resize(count);
        try {
            coder.decode(stack, count, pixels.data(), labels.data());
        } catch (const InputError&) {
            refuse_other_pixels(model, images);  // the file is intact and belongs to the model
        }
        if (all_labels != nullptr && model.glow().config().y_cond)
            all_labels->insert(all_labels->end(), labels.begin(), labels.end());
        f(first, count, pixels.data());
        first += count;
    }
    if (!stack.is_in_initial_state()) refuse_other_pixels(model, images);
}

void decompress(LoadedModel& model, const CompressedImages& images,
                const std::function<void(index_t, index_t, const std::uint8_t*)>& f,
                std::vector<std::int32_t>* all_labels) {
    std::uint64_t hash = fingerprint(nullptr, 0);
    const auto hash_and_use = [&](index_t first, index_t count, const std::uint8_t* pixels) {
        hash = fingerprint(pixels, static_cast<std::size_t>(count * images.H * images.W * images.C), hash);
        f(first, count, pixels);
    };
    decode_batches(model, images, hash_and_use, all_labels);
    if (hash != images.pixels) refuse_other_pixels(model, images);
}

}  // namespace glow
