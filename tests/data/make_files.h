// Small files as bytes, in the formats that data sets are made from: IDX, gzip, ZIP, NumPy, PNG, JPEG,
// CIFAR-10. Every field can be set, so that tests can also write inconsistent files.
#pragma once

#include <fmt/format.h>
#include <jpeglib.h>
#include <zlib.h>

#include <cstdio>  // required by jpeglib.h
#include <cstdlib>
#include <string>
#include <vector>

#include "data/formats/png.h"
#include "kernels/base.h"
#include "kernels/error.h"

namespace glow::make {

inline std::string big_endian(std::uint64_t value, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
    return text;
}
inline std::string little_endian(std::uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
}
inline std::uint32_t check_sum(const std::string& bytes) {
    return static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}
// `count` bytes: first, first + 7, first + 14, ...
inline std::string pixels(index_t count, int first = 0) {
    std::string bytes;
    for (index_t i = 0; i < count; ++i) bytes += static_cast<char>(first + 7 * i);
    return bytes;
}

// ---- Compression ---------------------------------------------------------------------------------

// window_bits: -15 raw deflate, 15 zlib, 31 gzip.
inline std::string deflated(const std::string& bytes, int window_bits) {
    z_stream z{};
    if (deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        throw Error("deflateInit2");
    std::string out(deflateBound(&z, static_cast<uLong>(bytes.size())) + 64, '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    z.avail_in = static_cast<uInt>(bytes.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) throw Error("deflate");
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}
inline std::string gzip(const std::string& bytes) {
    return deflated(bytes, 31);
}

// ---- IDX -----------------------------------------------------------------------------------------

inline std::string idx(const std::vector<std::uint64_t>& shape, const std::string& elements, int type = 8) {
    std::string bytes = big_endian(static_cast<std::uint64_t>(type) << 8 | shape.size(), 4);
    for (const std::uint64_t size : shape) bytes += big_endian(size, 4);
    return bytes + elements;
}

// ---- ZIP and NumPy -------------------------------------------------------------------------------

struct Entry {
    std::string name, content;
    bool deflate = false;
    int method = -1, flags = 0;                                       // -1: chosen by `deflate`
    std::int64_t bytes = -1, crc = -1, compressed = -1, header = -1;  // -1: correct values
    bool zip64 = false;                                               // sizes and offset in a ZIP64 field
};

struct Archive {
    std::vector<Entry> entries;
    std::int64_t count = -1, directory = -1, directory_bytes = -1;  // -1: correct values
    bool zip64 = false;                                             // a ZIP64 end record
    std::string comment;
};

inline std::string zip(const Archive& archive) {
    std::string file, directory;
    const auto or_true = [](std::int64_t given, std::size_t truth) {
        return static_cast<std::uint64_t>(given >= 0 ? given : static_cast<std::int64_t>(truth));
    };
    for (const Entry& entry : archive.entries) {
        const std::string data = entry.deflate ? deflated(entry.content, -15) : entry.content;
        const auto method = or_true(entry.method, entry.deflate ? 8 : 0);
        const auto crc = or_true(entry.crc, check_sum(entry.content));
        const auto packed = or_true(entry.compressed, data.size());
        const auto bytes = or_true(entry.bytes, entry.content.size());
        const auto header = or_true(entry.header, file.size());
        const std::string start = little_endian(static_cast<std::uint64_t>(entry.flags), 2) +
                                  little_endian(method, 2) + little_endian(0, 4) + little_endian(crc, 4);
        const auto sizes = [&](std::uint64_t a, std::uint64_t b) {
            return entry.zip64 ? std::string(8, '\xff') : little_endian(a, 4) + little_endian(b, 4);
        };
        const std::string extra = entry.zip64
                                      ? little_endian(1, 2) + little_endian(24, 2) + little_endian(bytes, 8) +
                                            little_endian(packed, 8) + little_endian(header, 8)
                                      : "";
        file += little_endian(0x04034b50, 4) + little_endian(20, 2) + start + sizes(packed, bytes) +
                little_endian(entry.name.size(), 2) + little_endian(extra.size(), 2) + entry.name + extra +
                data;
        directory += little_endian(0x02014b50, 4) + little_endian(20, 2) + little_endian(20, 2) + start +
                     sizes(packed, bytes) + little_endian(entry.name.size(), 2) +
                     little_endian(extra.size(), 2) + std::string(10, '\0') +
                     (entry.zip64 ? std::string(4, '\xff') : little_endian(header, 4)) + entry.name + extra;
    }
    const auto count = or_true(archive.count, archive.entries.size());
    const auto at = or_true(archive.directory, file.size());
    const auto bytes = or_true(archive.directory_bytes, directory.size());
    file += directory;
    if (archive.zip64) {
        const std::size_t end = file.size();
        file += little_endian(0x06064b50, 4) + little_endian(44, 8) + std::string(12, '\0') +
                little_endian(count, 8) + little_endian(count, 8) + little_endian(bytes, 8) +
                little_endian(at, 8);
        file +=
            little_endian(0x07064b50, 4) + little_endian(0, 4) + little_endian(end, 8) + little_endian(1, 4);
        file += little_endian(0x06054b50, 4) + std::string(4, '\0') + std::string(12, '\xff');
    } else {
        file += little_endian(0x06054b50, 4) + std::string(4, '\0') + little_endian(count, 2) +
                little_endian(count, 2) + little_endian(bytes, 4) + little_endian(at, 4);
    }
    return file + little_endian(archive.comment.size(), 2) + archive.comment;
}

// header: {'descr': '|u1', ...}
inline std::string npy_of(const std::string& header, const std::string& elements, int version = 1) {
    const std::string text = header + std::string(63 - (header.size() + 10) % 64, ' ') + "\n";
    return "\x93NUMPY" + std::string(1, static_cast<char>(version)) + std::string(1, '\0') +
           little_endian(text.size(), version == 1 ? 2 : 4) + text + elements;
}
inline std::string npy(const std::string& descr, const std::string& shape, const std::string& elements,
                       bool fortran = false) {
    return npy_of(fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", descr,
                              fortran ? "True" : "False", shape),
                  elements);
}
// data and labels as numpy.savez writes them.
inline std::string npz(const std::string& data, const std::string& labels, bool deflate = false) {
    Archive archive;
    archive.entries.push_back({.name = "data.npy", .content = data, .deflate = deflate});
    if (!labels.empty())
        archive.entries.push_back({.name = "labels.npy", .content = labels, .deflate = deflate});
    return zip(archive);
}

// ---- PNG and JPEG --------------------------------------------------------------------------------

inline std::string png_chunk(const std::string& type, const std::string& data) {
    return big_endian(data.size(), 4) + type + data + big_endian(check_sum(type + data), 4);
}
// color: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha. rows: each preceded by 0 (no filter).
inline std::string png(std::uint64_t width, std::uint64_t height, int bits, int color,
                       const std::string& rows, const std::string& chunks = "") {
    return "\x89PNG\r\n\x1a\n" +
           png_chunk("IHDR", big_endian(width, 4) + big_endian(height, 4) + static_cast<char>(bits) +
                                 static_cast<char>(color) + std::string(3, '\0')) +
           chunks + png_chunk("IDAT", deflated(rows, 15)) + png_chunk("IEND", "");
}
// An 8-bit picture without filters.
inline std::string png(const Image& image) {
    std::string rows;
    for (index_t y = 0; y < image.H; ++y) {
        const auto first = image.pixels.begin() + y * image.W * image.C;
        rows += '\0';
        rows.append(first, first + image.W * image.C);
    }
    constexpr int kColors[] = {0, 0, 4, 2, 6};
    return png(static_cast<std::uint64_t>(image.W), static_cast<std::uint64_t>(image.H), 8, kColors[image.C],
               rows);
}

// C: 1 gray, 3 RGB, 4 CMYK (with Adobe's marker, so values are stored unchanged) or YCCK converted from it.
inline std::string jpeg(const Image& image, int quality = 95, bool progressive = false, bool ycck = false) {
    jpeg_compress_struct jpeg{};
    jpeg_error_mgr errors{};
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    unsigned char* buffer = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&jpeg, &buffer, &size);
    jpeg.image_width = static_cast<JDIMENSION>(image.W);
    jpeg.image_height = static_cast<JDIMENSION>(image.H);
    jpeg.input_components = static_cast<int>(image.C);
    jpeg.in_color_space = image.C == 1 ? JCS_GRAYSCALE : image.C == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    if (ycck) {
        jpeg_set_colorspace(&jpeg, JCS_YCCK);
        for (int c = 0; c < 4; ++c) jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
    }
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row =
            const_cast<std::uint8_t*>(image.pixels.data()) + jpeg.next_scanline * image.W * image.C;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    const std::string bytes(reinterpret_cast<char*>(buffer), size);
    std::free(buffer);
    return bytes;
}

// ---- Pictures ------------------------------------------------------------------------------------

// Smooth images survive lossy compression well.
inline Image smooth(index_t H, index_t W, index_t C, int first = 0) {
    Image image{H, W, C, {}};
    for (index_t y = 0; y < H; ++y)
        for (index_t x = 0; x < W; ++x)
            for (index_t c = 0; c < C; ++c)
                image.pixels.push_back(static_cast<std::uint8_t>(first + 120 * y / H + 100 * x / W + 10 * c));
    return image;
}

// CIFAR-10 records; image n consists of bytes n.
inline std::string cifar10(int count, int label = 1) {
    std::string bytes;
    for (int n = 0; n < count; ++n)
        bytes += std::string(1, static_cast<char>(label)) + std::string(3072, static_cast<char>(n));
    return bytes;
}

}  // namespace glow::make
