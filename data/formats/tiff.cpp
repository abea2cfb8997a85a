// Gray and RGB samples of 8 and 16 bits are read directly, because libtiff's conversion to RGBA truncates
// gray of 16 bits and drops its alpha. So are palettes with further samples: the conversion drops their
// alpha, too, and shifts the pixels of tiles at the right edge. The conversion reads the other kinds:
// palettes, fewer bits, YCbCr, CMYK, L*a*b*.
#include "data/formats/tiff.h"

#include <fmt/format.h>
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <new>
#include <string_view>
#include <vector>

#include "data/formats/exif.h"
#include "kernels/error.h"

namespace glow {
namespace {

// Modules of libtiff that decompress pixels, as they call themselves in warnings: fax, JPEG, PackBits.
constexpr const char* kDecoders[] = {"Fax3", "Fax4", "JPEGLib", "PackBits", "ThunderDecode"};

// Warnings of libjpeg that decode_jpeg() ignores too: all pixels are present.
bool is_harmless(std::string_view warning) {
    for (const char* const text : {"Adobe color transform", "JFIF revision", "Invalid SOS parameters"})
        if (warning.find(text) != std::string_view::npos) return true;
    return false;
}

// A file in memory. libtiff's handlers of errors are global; they get the TiffReader.
struct TiffReader {
    std::span<const std::uint8_t> bytes;
    toff_t at = 0;
    char message[256] = "";
    bool reading = false;  // the pixels
    bool damaged = false;  // libtiff reported damaged pixels, perhaps only as a warning
    std::vector<std::uint8_t> tile;
    TIFF* tiff = nullptr;

    explicit TiffReader(std::span<const std::uint8_t> file) : bytes(file) {
        static const bool quiet = [] {
            TIFFSetErrorHandler(nullptr);
            TIFFSetWarningHandler(nullptr);
            TIFFSetErrorHandlerExt(on_error);
            TIFFSetWarningHandlerExt(on_warning);
            return true;
        }();
        (void)quiet;
        tiff =
            TIFFClientOpen("", "rm", this, on_read, on_write, on_seek, on_close, on_size, nullptr, nullptr);
    }
    ~TiffReader() {
        if (tiff != nullptr) TIFFClose(tiff);
    }
    TiffReader(const TiffReader&) = delete;
    TiffReader& operator=(const TiffReader&) = delete;

    // TIFFRGBAImageGet() refuses an uncompressed tile unless the buffer has its size. libtiff's own one has
    // whole kilobytes.
    void use_exact_tile_buffer() {
        std::uint16_t compression = COMPRESSION_NONE;
        TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
        if (compression != COMPRESSION_NONE || TIFFIsTiled(tiff) == 0) return;
        const tmsize_t size = TIFFTileSize(tiff);
        if (size <= 0 || size > static_cast<tmsize_t>(bytes.size())) return;  // damaged
        tile.resize(static_cast<std::size_t>(size));
        TIFFReadBufferSetup(tiff, tile.data(), size);
    }

    // Keeps the first error, which is the cause of the others. One in a tag is no cause if the pixels have
    // another.
    void keep(const char* text) {
        if (message[0] == '\0' || (reading && !damaged)) std::snprintf(message, sizeof message, "%s", text);
        damaged = damaged || reading;
    }
    static void on_error(thandle_t client, const char*, const char* format, va_list values) {
        auto* const self = static_cast<TiffReader*>(client);
        if (self == nullptr) return;
        char text[sizeof message] = "";
        std::vsnprintf(text, sizeof text, format, values);
        self->keep(text);
    }
    // For damaged pixels several decoders only warn, and guess the rest. Other warnings concern tags.
    static void on_warning(thandle_t client, const char* module, const char* format, va_list values) {
        auto* const self = static_cast<TiffReader*>(client);
        if (self == nullptr || !self->reading || module == nullptr) return;
        const std::string_view decoder = module;
        if (std::none_of(std::begin(kDecoders), std::end(kDecoders),
                         [&](const char* name) { return decoder.starts_with(name); }))
            return;
        char text[sizeof message] = "";
        std::vsnprintf(text, sizeof text, format, values);
        if (!is_harmless(text)) self->keep(text);
    }
    static tmsize_t on_read(thandle_t client, void* to, tmsize_t count) {
        auto* const self = static_cast<TiffReader*>(client);
        const toff_t left = self->bytes.size() - std::min<toff_t>(self->at, self->bytes.size());
        const toff_t taken = std::min<toff_t>(left, static_cast<toff_t>(std::max<tmsize_t>(count, 0)));
        if (taken > 0) std::memcpy(to, self->bytes.data() + self->at, taken);
        self->at += taken;
        return static_cast<tmsize_t>(taken);
    }
    static tmsize_t on_write(thandle_t, void*, tmsize_t) { return -1; }
    static toff_t on_seek(thandle_t client, toff_t offset, int whence) {
        auto* const self = static_cast<TiffReader*>(client);
        self->at = offset + (whence == SEEK_CUR ? self->at : whence == SEEK_END ? self->bytes.size() : 0);
        return self->at;
    }
    static int on_close(thandle_t) { return 0; }
    static toff_t on_size(thandle_t client) { return static_cast<TiffReader*>(client)->bytes.size(); }
};

struct Layout {
    index_t H = 0, W = 0;
    std::uint16_t bits = 1, samples = 1, photometric = 0, planar = PLANARCONFIG_CONTIG, extras = 0;
    std::uint16_t format = SAMPLEFORMAT_UINT, orientation = ORIENTATION_TOPLEFT;
    const std::uint16_t* kinds = nullptr;  // of the extra samples

    bool gray() const { return photometric <= PHOTOMETRIC_MINISBLACK; }
    bool palette() const { return photometric == PHOTOMETRIC_PALETTE; }
    bool inks() const { return photometric == PHOTOMETRIC_SEPARATED; }
    index_t colors() const { return gray() ? 1 : 3; }
    // Samples of a pixel that hold its color; alpha and others follow.
    index_t color_samples() const { return gray() || palette() ? 1 : inks() ? 4 : 3; }
    bool is_direct() const {
        if (palette()) return bits == 8 && samples > 1;
        return (gray() || photometric == PHOTOMETRIC_RGB) && (bits == 8 || bits == 16) && samples >= colors();
    }
    // Without declared kinds, a single extra sample is alpha, as in Pillow. Several are channels of another
    // kind, as of microscopes and satellites.
    bool alpha() const {
        if (samples <= color_samples()) return false;
        if (extras == 0) return samples == color_samples() + 1;
        return kinds[0] == EXTRASAMPLE_ASSOCALPHA || kinds[0] == EXTRASAMPLE_UNASSALPHA;
    }
    bool premultiplied() const { return alpha() && extras > 0 && kinds[0] == EXTRASAMPLE_ASSOCALPHA; }
};

Layout layout_of(TIFF* tiff) {
    Layout layout;
    std::uint32_t H = 0, W = 0;
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &H);
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &W);
    layout.H = H;
    layout.W = W;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &layout.bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &layout.samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &layout.planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &layout.format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &layout.orientation);
    if (TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &layout.photometric) != 1)
        layout.photometric = layout.samples < 3 ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_RGB;
    std::uint16_t* kinds = nullptr;
    if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &layout.extras, &kinds) != 1 || kinds == nullptr)
        layout.extras = 0;
    layout.kinds = kinds;
    return layout;
}

// Reads a plane (all planes if they are interleaved) from strips or tiles and calls use(y, x, count, samples)
// for runs of pixels. False if the file is damaged.
template <class Use>
bool for_each_run(TIFF* tiff, const Layout& layout, index_t plane, const Use& use) {
    const auto sample = static_cast<std::uint16_t>(plane);
    const auto fits = [](tmsize_t bytes) { return bytes > 0 && bytes <= kImageBytesLimit; };
    if (TIFFIsTiled(tiff) == 0) {
        const tmsize_t bytes = TIFFScanlineSize(tiff);
        if (!fits(bytes)) return false;
        std::vector<std::uint8_t> row(static_cast<std::size_t>(bytes));
        for (index_t y = 0; y < layout.H; ++y) {
            if (TIFFReadScanline(tiff, row.data(), static_cast<std::uint32_t>(y), sample) != 1) return false;
            use(y, 0, layout.W, row.data());
        }
        return true;
    }
    std::uint32_t tile_W = 0, tile_H = 0;
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_W);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_H);
    const tmsize_t bytes = TIFFTileSize(tiff), row_bytes = TIFFTileRowSize(tiff);
    if (tile_W == 0 || tile_H == 0 || row_bytes <= 0 || !fits(bytes)) return false;
    std::vector<std::uint8_t> tile(static_cast<std::size_t>(bytes));
    for (index_t top = 0; top < layout.H; top += tile_H)
        for (index_t left = 0; left < layout.W; left += tile_W) {
            if (TIFFReadTile(tiff, tile.data(), static_cast<std::uint32_t>(left),
                             static_cast<std::uint32_t>(top), 0, sample) < 0)
                return false;
            const index_t height = std::min<index_t>(tile_H, layout.H - top);
            for (index_t y = 0; y < height; ++y)
                use(top + y, left, std::min<index_t>(tile_W, layout.W - left), tile.data() + y * row_bytes);
        }
    return true;
}

// Replaces the indices of the first channel by their colors. Like libtiff, takes the high byte of the colors
// unless all are below 256. False if the file has no colors.
bool replace_indices(TIFF* tiff, Image& image) {
    std::uint16_t* colors[3] = {};
    if (TIFFGetField(tiff, TIFFTAG_COLORMAP, &colors[0], &colors[1], &colors[2]) != 1) return false;
    constexpr index_t kIndices = 256;
    const bool low = std::all_of(std::begin(colors), std::end(colors), [](const std::uint16_t* values) {
        return std::all_of(values, values + kIndices, [](std::uint16_t value) { return value < 256; });
    });
    Image result{image.H, image.W, image.C + 2, {}};
    result.pixels.reserve(static_cast<std::size_t>(image.H * image.W * result.C));
    for (auto pixel = image.pixels.begin(); pixel != image.pixels.end(); pixel += image.C) {
        for (const std::uint16_t* values : colors)
            result.pixels.push_back(static_cast<std::uint8_t>(low ? values[*pixel] : values[*pixel] >> 8));
        result.pixels.insert(result.pixels.end(), pixel + 1, pixel + image.C);
    }
    image = std::move(result);
    return true;
}

// False if the file is damaged.
bool read_direct(TIFF* tiff, const Layout& layout, Image& image) {
    const index_t channels = layout.color_samples() + (layout.alpha() ? 1 : 0);
    image = {layout.H, layout.W, channels,
             std::vector<std::uint8_t>(static_cast<std::size_t>(layout.H * layout.W * channels))};
    const bool interleaved = layout.planar == PLANARCONFIG_CONTIG || layout.samples == 1;
    const index_t step = interleaved ? layout.samples : 1;
    const auto sample = [&](const std::uint8_t* row, index_t i) -> std::uint8_t {
        if (layout.bits == 8) return row[i];
        std::uint16_t value = 0;  // in the order of this machine
        std::memcpy(&value, row + 2 * i, sizeof value);
        return static_cast<std::uint8_t>((value + 128u) / 257u);
    };
    const bool inverted = layout.photometric == PHOTOMETRIC_MINISWHITE;
    const index_t read = interleaved ? channels : 1;  // channels of a plane
    for (index_t plane = 0; plane < (interleaved ? 1 : channels); ++plane) {
        const auto use = [&](index_t y, index_t x, index_t count, const std::uint8_t* row) {
            std::uint8_t* to = image.pixels.data() + (y * layout.W + x) * channels + plane;
            for (index_t i = 0; i < count; ++i, to += channels)
                for (index_t c = 0; c < read; ++c) {
                    const std::uint8_t value = sample(row, i * step + c);
                    const bool color = plane + c < layout.color_samples();
                    to[c] = inverted && color ? static_cast<std::uint8_t>(255 - value) : value;
                }
        };
        if (!for_each_run(tiff, layout, plane, use)) return false;
    }
    return !layout.palette() || replace_indices(tiff, image);
}

// Adds the alpha of a CMYK picture, which libtiff's conversion drops. False if the file is damaged or has
// another layout than libtiff converts.
bool add_alpha(std::span<const std::uint8_t> bytes, const Layout& layout, Image& image) {
    const TiffReader file(bytes);  // again, because libtiff cannot always go back after converting
    if (file.tiff == nullptr || layout.bits != 8 || layout.planar != PLANARCONFIG_CONTIG) return false;
    image = with_channels(std::move(image), 4);
    return for_each_run(file.tiff, layout, 0,
                        [&](index_t y, index_t x, index_t count, const std::uint8_t* row) {
                            std::uint8_t* to = image.pixels.data() + (y * layout.W + x) * 4;
                            for (index_t i = 0; i < count; ++i)
                                to[4 * i + 3] = row[i * layout.samples + layout.color_samples()];
                        });
}

bool read_converted(TiffReader& file, const Layout& layout, Image& image) {
    char why[1024] = "";
    TIFFRGBAImage reader;
    if (TIFFRGBAImageOK(file.tiff, why) == 0 || TIFFRGBAImageBegin(&reader, file.tiff, 1, why) == 0) {
        std::snprintf(file.message, sizeof file.message, "%.255s", why);
        return false;
    }
    file.use_exact_tile_buffer();
    reader.orientation = reader.req_orientation = ORIENTATION_TOPLEFT;  // as stored
    std::vector<std::uint32_t> packed(static_cast<std::size_t>(layout.H * layout.W));
    const bool read = TIFFRGBAImageGet(&reader, packed.data(), static_cast<std::uint32_t>(layout.W),
                                       static_cast<std::uint32_t>(layout.H)) != 0;
    TIFFRGBAImageEnd(&reader);
    if (!read) return false;
    const index_t C = layout.colors();
    image = {layout.H, layout.W, C, std::vector<std::uint8_t>(packed.size() * static_cast<std::size_t>(C))};
    std::uint8_t* to = image.pixels.data();
    for (const std::uint32_t pixel : packed)
        for (index_t c = 0; c < C; ++c) *to++ = static_cast<std::uint8_t>(pixel >> (8 * c));
    return !layout.inks() || !layout.alpha() || add_alpha(file.bytes, layout, image);
}

// libtiff reports a lack of memory like damage. Throws std::bad_alloc if there is not what reading takes.
void require_memory(TIFF* tiff, const Layout& layout, std::size_t file_bytes) {
    const tmsize_t block = TIFFIsTiled(tiff) != 0 ? TIFFTileSize(tiff) : TIFFStripSize(tiff);
    const std::size_t samples = std::max<std::size_t>(1, layout.samples);
    if (block <= 0 || block > kImageBytesLimit / static_cast<tmsize_t>(samples)) return;  // damaged
    const auto packed = static_cast<std::size_t>(layout.is_direct() ? 0 : 4 * layout.H * layout.W);
    ::operator delete(::operator new(packed + static_cast<std::size_t>(block) * samples + file_bytes));
}

// Whether the palette's colors have more than 8 bits. Writers store a value v of 8 bits as v, 256 v or 257 v.
bool has_deep_palette(TIFF* tiff, const Layout& layout) {
    std::uint16_t* colors[3] = {};
    if (!layout.palette() || layout.bits > 8 ||
        TIFFGetField(tiff, TIFFTAG_COLORMAP, &colors[0], &colors[1], &colors[2]) != 1)
        return false;
    const auto all = [&](auto&& fits) {
        return std::all_of(std::begin(colors), std::end(colors), [&](const std::uint16_t* values) {
            return std::all_of(values, values + (std::size_t{1} << layout.bits), fits);
        });
    };
    return !all([](std::uint16_t value) { return value < 256; }) &&
           !all([](std::uint16_t value) { return value % 256 == 0; }) &&
           !all([](std::uint16_t value) { return value % 257 == 0; });
}

// The colors of a picture whose colors are already multiplied by alpha.
Image over_black(const Image& image) {
    const index_t colors = image.C - 1;
    Image result{image.H, image.W, colors, {}};
    result.pixels.reserve(static_cast<std::size_t>(image.H * image.W * colors));
    for (auto pixel = image.pixels.begin(); pixel != image.pixels.end(); pixel += image.C)
        result.pixels.insert(result.pixels.end(), pixel, pixel + colors);
    return result;
}

bool has_transparency(const Image& image) {
    for (auto pixel = image.pixels.begin(); pixel != image.pixels.end(); pixel += image.C)
        if (pixel[image.C - 1] != 255) return true;
    return false;
}

}  // namespace

bool reads_tiff() {
    return true;
}

Image decode_tiff(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost,
                  const SizeHook& on_size) {
    TiffReader reader(bytes);
    const auto fail = [&] {
        const std::string_view text = reader.message;
        const std::size_t begin =
            text.find_first_not_of(": ");  // behind the name of the file, which is empty
        throw InputError(
            fmt::format("cannot read {} as a TIFF file: {}", shown,
                        begin < text.size() ? text.substr(begin) : "it is damaged or truncated"));
    };
    if (reader.tiff == nullptr) fail();
    const Layout layout = layout_of(reader.tiff);
    if (layout.H < 1 || layout.W < 1) fail();
    if (layout.format != SAMPLEFORMAT_UINT && layout.format != SAMPLEFORMAT_VOID)
        throw InputError(
            fmt::format("cannot read {} as a TIFF file: its samples are not unsigned integers", shown));
    if (layout.inks() && layout.premultiplied())
        throw InputError(
            fmt::format("cannot read {} as a TIFF file: its CMYK colors are multiplied by alpha", shown));
    if (layout.H > kPngPixelLimit || layout.W > kPngPixelLimit || layout.H * layout.W > kPngPixelLimit)
        throw InputError(fmt::format("{}: expected at most {} pixels, found {} x {}", shown, kPngPixelLimit,
                                     layout.W, layout.H));
    if (on_size) on_size(layout.H, layout.W);
    Image image;
    reader.reading = true;
    const bool complete =
        layout.is_direct() ? read_direct(reader.tiff, layout, image) : read_converted(reader, layout, image);
    reader.reading = false;
    if (!complete || reader.damaged) {
        require_memory(reader.tiff, layout, bytes.size());
        fail();
    }
    const auto lose = [&](const char* what) {
        if (lost != nullptr) *lost = what;
    };
    if (layout.bits > 8 || has_deep_palette(reader.tiff, layout)) lose("it has more than 8 bits a channel");
    if (layout.samples > layout.color_samples() + (layout.alpha() ? 1 : 0)) lose("it has a further channel");
    if (!layout.is_direct() && !layout.gray() && layout.photometric != PHOTOMETRIC_RGB && !layout.palette())
        lose("its colors are not RGB");
    if (layout.is_direct() && layout.premultiplied()) {
        if (has_transparency(image)) lose("it has transparent pixels");
        image = over_black(image);
    }
    if (TIFFLastDirectory(reader.tiff) == 0) lose("it has several pages");
    return upright(std::move(image), layout.orientation);
}

}  // namespace glow
