#include "inference/photo_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "data/formats/output_name.h"
#include "kernels/error.h"

namespace glow {
namespace {

std::uint64_t fingerprint_of(const Image& image) {
    return fingerprint(image.pixels.data(), image.pixels.size());
}

// Reads tiles of photographs in falling order, keeping one photograph in memory.
class TileReader {
  public:
    TileReader(const std::vector<PhotoFile>& photos, const ModelConfig& model)
        : photos_(photos), model_(model) {
        for (const PhotoFile& photo : photos)
            first_.push_back(first_.back() + photo.photo.tiles(model.image_height, model.image_width));
    }

    index_t tiles() const { return first_.back(); }

    // pixels [count, H, W, C]
    void read(index_t first, index_t count, std::uint8_t* pixels) {
        for (index_t n = count; n-- > 0;) read_tile(first + n, pixels + n * model_.dimensions());
    }

  private:
    void read_tile(index_t tile, std::uint8_t* pixels) {
        const auto after = std::upper_bound(first_.begin(), first_.end(), tile);
        const index_t photo = after - first_.begin() - 1;
        if (photo != loaded_) load(photo);
        const index_t H = model_.image_height, W = model_.image_width, C = model_.channels,
                      columns = (image_.W + W - 1) / W, number = tile - first_[photo],
                      top = number / columns * H, left = number % columns * W,
                      inside = std::min(W, image_.W - left);
        for (index_t y = 0; y < H; ++y, pixels += W * C) {
            const std::uint8_t* const row =
                image_.pixels.data() + (std::min(top + y, image_.H - 1) * image_.W + left) * C;
            std::copy_n(row, inside * C, pixels);
            for (index_t x = inside; x < W; ++x) std::copy_n(row + (inside - 1) * C, C, pixels + x * C);
        }
    }

    void load(index_t photo) {
        const PhotoFile& file = photos_[static_cast<std::size_t>(photo)];
        image_ = read_codable_photo(file.path, model_).image;
        loaded_ = photo;
        if (image_.H != file.photo.H || image_.W != file.photo.W ||
            fingerprint_of(image_) != file.photo.pixels)
            throw InputError(fmt::format("{}: changed while it was compressed", file.path.string()));
    }

    const std::vector<PhotoFile>& photos_;
    const ModelConfig& model_;
    std::vector<index_t> first_ = {0};  // [photographs + 1] first tile of each
    index_t loaded_ = -1;
    Image image_;
};

}  // namespace

std::vector<std::string> archive_names(const std::vector<std::string>& paths) {
    std::set<std::string> taken;
    for (const std::string& path : paths) {
        if (is_png_name(path)) taken.insert(path);
        for (std::filesystem::path folder = std::filesystem::path(path).parent_path(); !folder.empty();
             folder = folder.parent_path())
            taken.insert(folder.string());
    }
    std::vector<std::string> names;
    for (const std::string& path : paths) {
        if (is_png_name(path)) {
            names.push_back(path);
            continue;
        }
        std::string name = std::filesystem::path(path).replace_extension(".png").string();
        if (taken.contains(name)) name = path + ".png";
        while (!taken.insert(name).second) name += ".png";
        names.push_back(name);
    }
    return names;
}

void require_restorable(const std::filesystem::path& path, const std::string& name) {
    constexpr std::size_t kLongest = 255;  // NAME_MAX
    std::string problem = photo_name_problem(name);
    if (std::filesystem::path(name).filename().string().size() > kLongest)
        problem = fmt::format("has more than {} bytes", kLongest);
    if (!problem.empty())
        throw InputError(fmt::format("{}: cannot be restored: its name in the archive, {}, {}", path.string(),
                                     name, problem));
}

ExactPhoto read_codable_photo(const std::filesystem::path& path, const ModelConfig& model) {
    ExactPhoto photo = read_photo_exactly(path, model.channels);
    const auto lost = static_cast<std::uint8_t>((1 << (8 - model.n_bits)) - 1);
    const auto& pixels = photo.image.pixels;
    if (std::any_of(pixels.begin(), pixels.end(), [&](std::uint8_t pixel) { return pixel & lost; }))
        throw InputError(
            fmt::format("{}: cannot be coded without loss: it has 8 bits a channel, but the model {}",
                        path.string(), model.n_bits));
    if (photo.image.H > kPngSideLimit || photo.image.W > kPngSideLimit)
        throw InputError(fmt::format("{}: cannot be restored as a PNG file: {} x {} pixels, a side above {}",
                                     path.string(), photo.image.W, photo.image.H, kPngSideLimit));
    return photo;
}

CompressedPhoto describe_photo(const ExactPhoto& photo, const std::string& name) {
    return {name, photo.image.H, photo.image.W, photo.gray, fingerprint_of(photo.image)};
}

CompressedImages compress_photos(LoadedModel& model, const std::vector<PhotoFile>& photos, int threads,
                                 Precision precision, const std::function<void(index_t, index_t)>& progress) {
    const ModelConfig& config = model.glow().config();
    TileReader tiles(photos, config);
    std::vector<std::int32_t> labels;  // [tiles]
    if (config.y_cond)
        for (const auto& [path, photo, label] : photos)
            labels.insert(labels.end(),
                          static_cast<std::size_t>(photo.tiles(config.image_height, config.image_width)),
                          label);
    const ImageStream stream{
        tiles.tiles(), labels.empty() ? nullptr : labels.data(),
        [&](index_t first, index_t count, std::uint8_t* pixels) { tiles.read(first, count, pixels); }};
    CompressedImages images = compress(model, stream, threads, precision, [&](index_t done) {
        if (progress) progress(done, tiles.tiles());
    });
    for (const PhotoFile& photo : photos) images.photos.push_back(photo.photo);
    return images;
}

void decompress_photos(LoadedModel& model, const CompressedImages& images,
                       const std::function<void(index_t, Image)>& f) {
    const index_t H = images.H, W = images.W, C = images.C;
    index_t number = 0, tile = 0;
    Image image;
    const auto add = [&](const std::uint8_t* pixels) {
        const CompressedPhoto& photo = images.photos[static_cast<std::size_t>(number)];
        if (tile == 0)
            image = {photo.H, photo.W, C,
                     std::vector<std::uint8_t>(static_cast<std::size_t>(photo.H * photo.W * C))};
        const index_t columns = (photo.W + W - 1) / W, top = tile / columns * H, left = tile % columns * W,
                      inside = std::min(W, photo.W - left);
        for (index_t y = 0; y < std::min(H, photo.H - top); ++y)
            std::copy_n(pixels + y * W * C, inside * C,
                        image.pixels.data() + ((top + y) * photo.W + left) * C);
        if (++tile < photo.tiles(H, W)) return;
        if (fingerprint_of(image) != photo.pixels) refuse_other_pixels(model, images);
        f(number++, with_channels(std::move(image), photo.gray ? 1 : C));
        tile = 0;
    };
    decode_batches(model, images, [&](index_t, index_t count, const std::uint8_t* pixels) {
        for (index_t n = 0; n < count; ++n) add(pixels + n * H * W * C);
    });
}

}  // namespace glow
