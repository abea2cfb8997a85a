// Little-endian: "GLOWBITS", version, the members in order, and a checksum of everything before it.
#include "inference/compressed_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <string_view>

#include "data/formats/atomic_file.h"
#include "kernels/error.h"

namespace glow {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written in memory order");

constexpr char kMagic[] = "GLOWBITS";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 8 + 4 + 4 * 4 + 8 + 8 + 4 * 3 + 8 + 8 + 8 + 8 + 8;

class Writer {
  public:
    template <class T>
    void number(std::uint64_t value) {
        const T number = static_cast<T>(value);
        bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
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

}  // namespace

std::uint64_t fingerprint(LoadedModel& model) {
    // Of the config what decides how images are coded; weight_y only trains.
    std::string shape;
    visit_model_options(model.glow().config(), [&](const char* name, const auto& value, const char*) {
        if (std::string_view(name) == "weight_y") return;
        shape += fmt::format("{}{}", shape.empty() ? "" : " ", printable(value));
    });
    const Parameters& parameters = model.glow().parameters();
    const auto bytes = [](index_t count) { return static_cast<std::size_t>(count) * sizeof(float); };
    std::uint64_t hash = fingerprint(shape.data(), shape.size());
    hash = fingerprint(parameters.values(), bytes(parameters.size()), hash);
    return fingerprint(parameters.fixed(), bytes(parameters.fixed_size()), hash);
}

std::uint64_t CompressedImages::bytes() const {
    return kHeaderBytes + 4 * (batches.size() + words.size()) + 8;
}

std::uint64_t CompressedImages::start_up() const {
    return kHeaderBytes + 4 * (batches.size() + supplied) + 8;
}

void write_compressed(const std::filesystem::path& path, const CompressedImages& images) {
    Writer writer;
    writer.bytes_ = kMagic;
    writer.number<std::uint32_t>(kVersion);
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
    writer.number<std::uint64_t>(fingerprint(writer.bytes_.data(), writer.bytes_.size()));
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        std::ofstream file(temporary, std::ios::binary);
        file.write(writer.bytes_.data(), std::ssize(writer.bytes_));
        file << std::flush;
        if (!file) throw Error(fmt::format("{}: cannot be written (disk full?)", path.string()));
    });
}

CompressedImages read_compressed(const std::filesystem::path& path) {
    const auto refuse = [&](const std::string& what) -> void {
        throw InputError(fmt::format("{}: not usable as compressed images: {}", path.string(), what));
    };
    std::error_code failed;
    if (!std::filesystem::is_regular_file(path, failed)) refuse("no such file");
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file && !file.eof()) refuse("it cannot be read");
    if (!bytes.starts_with(kMagic)) refuse("it does not start with " + std::string(kMagic));
    if (bytes.size() < kHeaderBytes + 8) refuse("it is truncated");
    std::uint64_t expected;
    std::memcpy(&expected, bytes.data() + bytes.size() - 8, 8);
    if (fingerprint(bytes.data(), bytes.size() - 8) != expected)
        refuse("its checksum does not match: damaged or truncated");

    Reader reader(bytes);
    CompressedImages images;
    const auto version = reader.number<std::uint32_t>();
    if (version != kVersion)
        refuse(fmt::format("it has version {}, but this program reads version {}", version, kVersion));
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
    if (batches > left || words != left - batches || (reader.left() - 8) % 4 != 0)
        refuse("its parts do not add up to its length");
    images.batches = reader.words(batches);
    images.words = reader.words(words);
    std::uint64_t sum = 0;
    for (const std::uint32_t batch : images.batches) {
        if (batch == 0 || batch > kLargestBatch) refuse("a batch is out of range");
        sum += batch;
    }
    if (count == 0 || count != sum) refuse("its batches do not add up to its images");
    if (n_bits < 1 || n_bits > 8 || precision > static_cast<std::uint32_t>(Precision::bf16) || threads < 1 ||
        threads > 4096)
        refuse("a value is out of range");
    images.images = static_cast<index_t>(count);
    images.n_bits = static_cast<int>(n_bits);
    images.precision = static_cast<Precision>(precision);
    images.threads = static_cast<int>(threads);
    return images;
}

CompressedImages compress(LoadedModel& model, const ImageSet& set, int threads, Precision precision,
                          const std::function<void(index_t)>& progress) {
    const int n_bits = model.glow().config().n_bits;
    const std::uint8_t lost = static_cast<std::uint8_t>((1 << (8 - n_bits)) - 1);
    if (std::any_of(set.images.begin(), set.images.end(), [&](std::uint8_t pixel) { return pixel & lost; }))
        throw InputError(
            fmt::format("the model uses {} bits per pixel but these images have more: they "
                        "cannot be coded without loss",
                        n_bits));
    LosslessCoder coder(model);
    BitStack stack;
    CompressedImages out;
    // The first batch is one image, which borrows from the supply; later batches borrow from the stack
    // itself.
    double lent_per_image = 0;
    index_t left = set.N;
    while (left > 0) {
        const double affordable = lent_per_image > 0 ? static_cast<double>(stack.bits()) / lent_per_image : 1;
        const index_t count = std::clamp<index_t>(static_cast<index_t>(affordable), 1,
                                                  std::min(left, model.buffers().capacity));
        left -= count;
        const std::uint64_t lent = coder
                                       .encode(stack, count, set.image(left),
                                               set.labels.empty() ? nullptr : set.labels.data() + left)
                                       .bits;
        lent_per_image =
            std::max(lent_per_image, 1.02 * static_cast<double>(lent) / static_cast<double>(count));
        out.batches.push_back(static_cast<std::uint32_t>(count));
        if (progress) progress(set.N - left);
    }
    std::reverse(out.batches.begin(), out.batches.end());
    out.images = set.N;
    out.H = set.H;
    out.W = set.W;
    out.C = set.C;
    out.n_bits = n_bits;
    out.model = fingerprint(model);
    out.ema = model.used_ema();
    out.precision = precision;
    out.threads = threads;
    out.pixels = fingerprint(set.images.data(), static_cast<std::size_t>(set.N * set.image_bytes()));
    out.supplied = stack.supplied();
    out.head = stack.head();
    out.words = stack.words();
    return out;
}

void decompress(LoadedModel& model, const CompressedImages& images,
                const std::function<void(index_t, index_t, const std::uint8_t*)>& f) {
    if (fingerprint(model) != images.model)
        throw InputError(
            "these images were compressed with different weights: use the checkpoint that compressed them");
    LosslessCoder coder(model);
    BitStack stack(images.words, images.head, images.supplied);
    const std::string other =
        "the decompressed images differ from the originals: this build, machine or number of threads gives different "
        "floating-point results; decompress with the same build on the same kind of processor";
    std::vector<std::uint8_t> pixels;
    std::vector<std::int32_t> labels;
    std::uint64_t hash = fingerprint(nullptr, 0);
    index_t first = 0;
    try {
        for (const std::uint32_t count : images.batches) {
            pixels.resize(static_cast<std::size_t>(count) *
                          static_cast<std::size_t>(images.H * images.W * images.C));
            labels.resize(count);
            coder.decode(stack, count, pixels.data(), labels.data());
            hash = fingerprint(pixels.data(), pixels.size(), hash);
            f(first, count, pixels.data());
            first += count;
        }
    } catch (const InputError&) {
        throw Error(other);  // the file is intact and belongs to the model
    }
    if (hash != images.pixels || !stack.is_as_it_began()) throw Error(other);
}

}  // namespace glow
