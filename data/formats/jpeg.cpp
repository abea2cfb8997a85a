// libjpeg reports errors by longjmp, so no object with a destructor may live between setjmp and a library
// call.
#include "data/formats/jpeg.h"

#include <fmt/format.h>
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <cstring>
#include <new>
#include <string_view>

#include "data/formats/exif.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr int kExifMarker = JPEG_APP0 + 1, kPicturesMarker = JPEG_APP0 + 2;
constexpr int kMaxScans = 200;  // each scan of a progressive file is a pass over the whole picture

struct Decoder {
    jpeg_decompress_struct jpeg{};
    jpeg_error_mgr errors{};
    jpeg_progress_mgr progress{};
    std::jmp_buf escape;
    char message[JMSG_LENGTH_MAX] = "";
    bool out_of_memory = false;

    Decoder() {
        jpeg.err = jpeg_std_error(&errors);
        jpeg.client_data = this;
        errors.error_exit = [](j_common_ptr common) {
            auto* self = static_cast<Decoder*>(common->client_data);
            common->err->format_message(common, self->message);
            self->out_of_memory = common->err->msg_code == JERR_OUT_OF_MEMORY;
            std::longjmp(self->escape, 1);
        };
        errors.output_message = [](j_common_ptr) {};
        // libjpeg only warns about truncated or corrupt data and fills in gray.
        errors.emit_message = [](j_common_ptr common, int level) {
            if (level >= 0) return;
            switch (common->err->msg_code) {
                case JWRN_ADOBE_XFORM:
                case JWRN_EXTRANEOUS_DATA:
                case JWRN_JFIF_MAJOR:
                case JWRN_NOT_SEQUENTIAL:  // parameters of progressive files in another, as Samsung phones write
                    return;                // harmless: all pixels are present
                default:
                    common->err->error_exit(common);
            }
        };
        progress.progress_monitor = [](j_common_ptr common) {
            auto* self = static_cast<Decoder*>(common->client_data);
            if (self->jpeg.input_scan_number <= kMaxScans) return;
            std::snprintf(self->message, sizeof self->message, "it has more than %d scans", kMaxScans);
            std::longjmp(self->escape, 1);
        };
    }
    ~Decoder() { jpeg_destroy_decompress(&jpeg); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;
};

bool read_header(Decoder& decoder, const std::uint8_t* bytes, unsigned long count) {
    if (setjmp(decoder.escape) != 0) return false;
    jpeg_create_decompress(&decoder.jpeg);
    decoder.jpeg.progress = &decoder.progress;
    jpeg_mem_src(&decoder.jpeg, bytes, count);
    for (const int marker : {kExifMarker, kPicturesMarker}) jpeg_save_markers(&decoder.jpeg, marker, 0xffff);
    jpeg_read_header(&decoder.jpeg, TRUE);
    jpeg_decompress_struct& jpeg = decoder.jpeg;
    const bool inks = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
    jpeg.out_color_space = inks ? JCS_CMYK : jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg.dct_method = JDCT_ISLOW;  // same pixels on every processor
    jpeg_calc_output_dimensions(&jpeg);
    return true;
}

// Orientation in the first EXIF marker; 1 (upright) if there is none.
int orientation_of(const jpeg_decompress_struct& jpeg) {
    for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr; marker = marker->next)
        if (marker->marker == kExifMarker && marker->data_length >= 6 &&
            std::memcmp(marker->data, "Exif\0\0", 6) == 0)
            return exif_orientation({marker->data, marker->data_length});
    return 1;
}

bool lists_pictures(const jpeg_decompress_struct& jpeg) {
    for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr; marker = marker->next)
        if (marker->marker == kPicturesMarker && has_further_pictures({marker->data, marker->data_length}))
            return true;
    return false;
}

// Whether the bytes behind the picture hold an MP4 file, as in motion photographs of Google and Samsung phones.
bool ends_with_video(std::span<const std::uint8_t> bytes) {
    constexpr std::string_view kType = "ftyp";
    return std::search(bytes.begin(), bytes.end(), kType.begin(), kType.end()) != bytes.end();
}

// rows [H, W, components]
bool read_rows(Decoder& decoder, std::uint8_t* rows) {
    if (setjmp(decoder.escape) != 0) return false;
    jpeg_decompress_struct& jpeg = decoder.jpeg;
    jpeg_start_decompress(&jpeg);
    const std::size_t row_bytes =
        std::size_t{jpeg.output_width} * static_cast<std::size_t>(jpeg.output_components);
    while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = rows + jpeg.output_scanline * row_bytes;
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_decompress(&jpeg);
    return true;
}

}  // namespace

Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost,
                  const SizeHook& on_size) {
    Decoder decoder;
    const auto fail = [&] {
        if (decoder.out_of_memory) throw std::bad_alloc();  // no damaged file, which might be left out
        throw InputError(fmt::format("cannot read {} as a JPEG file: {}", shown, decoder.message));
    };
    if (!read_header(decoder, bytes.data(), static_cast<unsigned long>(bytes.size()))) fail();
    const auto H = static_cast<index_t>(decoder.jpeg.output_height),
               W = static_cast<index_t>(decoder.jpeg.output_width),
               components = static_cast<index_t>(decoder.jpeg.out_color_components);
    if (H * W > kJpegPixelLimit)
        throw InputError(
            fmt::format("{}: expected at most {} pixels, found {} x {}", shown, kJpegPixelLimit, W, H));
    if (on_size) on_size(H, W);
    Image image{H, W, components, std::vector<std::uint8_t>(static_cast<std::size_t>(H * W * components))};
    const int orientation = orientation_of(decoder.jpeg);  // reading the pixels frees the markers
    if (lost != nullptr && components == 4) *lost = "its colors are not RGB";
    if (lost != nullptr && lists_pictures(decoder.jpeg)) *lost = "it has several pictures";
    if (!read_rows(decoder, image.pixels.data())) fail();
    if (lost != nullptr && ends_with_video(bytes.last(decoder.jpeg.src->bytes_in_buffer)))
        *lost = "it has a video";
    if (components != 4) return upright(std::move(image), orientation);

    // CMYK to RGB. Inks are read as inverted (255: none), like Adobe stores them, with or without Adobe's
    // marker, as Pillow and browsers do.
    for (index_t p = 0; p < H * W; ++p) {
        const std::uint8_t* from = image.pixels.data() + 4 * p;
        std::uint8_t rgb[3];
        for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>((from[c] * from[3] + 127) / 255);
        for (int c = 0; c < 3; ++c) image.pixels[static_cast<std::size_t>(3 * p + c)] = rgb[c];
    }
    image.C = 3;
    image.pixels.resize(static_cast<std::size_t>(3 * H * W));
    return upright(std::move(image), orientation);
}

}  // namespace glow
