#include "data/formats/gif.h"

#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/error.h"

namespace glow {
namespace {

struct Pass {
    int first, step;
};
constexpr Pass kWhole[] = {{0, 1}}, kInterlaced[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};

// A file in memory.
struct GifReader {
    std::span<const std::uint8_t> left;
    int code = 0;
    GifFileType* gif;

    explicit GifReader(std::span<const std::uint8_t> bytes)
        : left(bytes), gif(DGifOpen(this, on_read, &code)) {}
    ~GifReader() {
        if (gif != nullptr) DGifCloseFile(gif, &code);
    }
    GifReader(const GifReader&) = delete;
    GifReader& operator=(const GifReader&) = delete;

    static int on_read(GifFileType* file, GifByteType* to, int count) {
        auto* const self = static_cast<GifReader*>(file->UserData);
        const std::size_t taken = std::min(self->left.size(), static_cast<std::size_t>(std::max(count, 0)));
        if (taken > 0) std::memcpy(to, self->left.data(), taken);
        self->left = self->left.subspan(taken);
        return static_cast<int>(taken);
    }
    const char* problem() const {
        const char* const text = GifErrorString(gif != nullptr ? gif->Error : code);
        return text != nullptr ? text : "it is damaged or truncated";
    }
};

// Goes to the next frame; false at the end or if the file is damaged. transparent: index of its transparent
// color, or -1.
bool next_frame(GifFileType* gif, int& transparent) {
    transparent = NO_TRANSPARENT_COLOR;
    for (GifRecordType type{}; DGifGetRecordType(gif, &type) == GIF_OK;) {
        if (type == IMAGE_DESC_RECORD_TYPE) return DGifGetImageDesc(gif) == GIF_OK;
        if (type != EXTENSION_RECORD_TYPE) return false;
        int kind = 0;
        GifByteType* block = nullptr;
        if (DGifGetExtension(gif, &kind, &block) != GIF_OK) return false;
        while (block != nullptr) {
            GraphicsControlBlock control{};
            if (kind == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
                transparent = control.TransparentColor;
            if (DGifGetExtensionNext(gif, &block) != GIF_OK) return false;
        }
    }
    return false;
}

}  // namespace

bool reads_gif() {
    return true;
}

Image decode_gif(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost,
                 const SizeHook& on_size) {
    GifReader reader(bytes);
    const auto fail = [&](const std::string& why) {
        throw InputError(fmt::format("cannot read {} as a GIF file: {}", shown, why));
    };
    int transparent = NO_TRANSPARENT_COLOR;
    if (reader.gif == nullptr || !next_frame(reader.gif, transparent)) fail(reader.problem());
    GifFileType& gif = *reader.gif;
    const GifImageDesc frame = gif.Image;
    const index_t W = gif.SWidth, H = gif.SHeight;
    if (W < 1 || H < 1 || frame.Width < 1 || frame.Height < 1) fail("it has no pixels");
    if (W * H > kPngPixelLimit)
        throw InputError(
            fmt::format("{}: expected at most {} pixels, found {} x {}", shown, kPngPixelLimit, W, H));
    if (frame.Left < 0 || frame.Top < 0 || frame.Left + frame.Width > W || frame.Top + frame.Height > H)
        fail("its first frame is outside its canvas");
    const ColorMapObject* const colors = frame.ColorMap != nullptr ? frame.ColorMap : gif.SColorMap;
    if (colors == nullptr) fail("it has no palette");

    if (on_size) on_size(H, W);
    Image image{H, W, 4, std::vector<std::uint8_t>(static_cast<std::size_t>(4 * H * W))};
    std::vector<GifPixelType> row(static_cast<std::size_t>(frame.Width));
    const std::span<const Pass> passes = frame.Interlace ? std::span<const Pass>(kInterlaced) : kWhole;
    for (const Pass& pass : passes)
        for (int y = pass.first; y < frame.Height; y += pass.step) {
            if (DGifGetLine(&gif, row.data(), frame.Width) != GIF_OK) fail(reader.problem());
            std::uint8_t* to = image.pixels.data() + 4 * ((frame.Top + y) * W + frame.Left);
            for (const GifPixelType index : row) {
                if (index != transparent) {
                    if (index >= colors->ColorCount) fail("a pixel's color is not in its palette");
                    const GifColorType& color = colors->Colors[index];
                    to[0] = color.Red;
                    to[1] = color.Green;
                    to[2] = color.Blue;
                    to[3] = 255;
                }
                to += 4;
            }
        }
    if (int ignored = 0; lost != nullptr && next_frame(&gif, ignored)) *lost = "it is an animation";
    for (index_t p = 0; p < H * W; ++p)
        if (image.pixels[static_cast<std::size_t>(4 * p + 3)] == 0) return image;
    return with_channels(std::move(image), 3);
}

}  // namespace glow
