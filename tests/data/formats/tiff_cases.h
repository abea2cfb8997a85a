// TIFF files: compressed ones written by libtiff 4.5 through Pillow 9.4, from the pixels (37 y + 23 x + 60 c)
// mod 256, and uncompressed ones of every layout.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tests/data/formats/hex_files.h"

namespace glow::make {

// [5, 7]
inline NamedFiles compressed_tiff_files() {
    const NamedFiles hexadecimal = {
        {"rgb_lzw",
         "49492a00720000008000078780b94d1e2e352988a815e97130d439abdd68a630084a614ec0d690665c25c50c7cc3c2112139"
         "290cc28c364f0b47823d9607533883cbd7c8d5a810261bd56e793bf93ad90acb0592f21cc8b53538a51a00c9d88d84fe1d50"
         "0a2f0161a00e433f878b496808000a000001030001000000070000000101030001000000050000000201030003000000f000"
         "0000030103000100000005000000060103000100000002000000110104000100000008000000150103000100000003000000"
         "1601030001000000050000001701040001000000690000001c010300010000000100000000000000080008000800"},
        {"rgb_deflate",
         "49492a007c000000789c01690096ff003c7817538f2e6aa64581bd5c98d473afeb8ac60225619d3c78b4538fcb6aa6e281bd"
         "f998d410afeb274a86c2619dd978b4f08fcb07a6e21ebdf935d4104c6fabe786c2fe9dd915b4f02ccb0743e21e5af9357194"
         "d00cabe723c2fe3ad91551f02c6807437f1e5a9639ef36440a00000103000100000007000000010103000100000005000000"
         "0201030003000000fa0000000301030001000000080000000601030001000000020000001101040001000000080000001501"
         "030001000000030000001601030001000000050000001701040001000000740000001c010300010000000100000000000000"
         "080008000800"},
        {"rgb_packbits",
         "49492a007600000014003c7817538f2e6aa64581bd5c98d473afeb8ac6021425619d3c78b4538fcb6aa6e281bdf998d410af"
         "eb27144a86c2619dd978b4f08fcb07a6e21ebdf935d4104c146fabe786c2fe9dd915b4f02ccb0743e21e5af935711494d00c"
         "abe723c2fe3ad91551f02c6807437f1e5a960a00000103000100000007000000010103000100000005000000020103000300"
         "0000f40000000301030001000000058000000601030001000000020000001101040001000000080000001501030001000000"
         "0300000016010300010000000500000017010400010000006e0000001c010300010000000100000000000000080008000800"},
        {"rgb_jpeg",
         "49492a0090000000ffd8ffc00011080005000703521100471100421100ffda000c03520047004200003f007cf6da3fc3ef0c"
         "5aeadfd99f6ff3ae56dbcaf37cac651db7676b7f7318c77a9fc517f2f83b50b4d0f438e0b7927b2172f78f1091d72ec02aa9"
         "f947dc392436777182327286b12f8ea1367b7fb3f466543f608b0db9979cbbe016e4e71c28c2f19193ffd9000b0000010300"
         "010000000700000001010300010000000500000002010300030000001a010000030103000100000007000000060103000100"
         "0000020000001101040001000000080000001501030001000000030000001601030001000000050000001701040001000000"
         "870000001c01030001000000010000005b010700210100002001000000000000080008000800ffd8ffdb0043000806060706"
         "05080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a1c1c20242e2720222c231c1c2837292c30313434341f27"
         "393d38323c2e333432ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b510000201"
         "0303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282"
         "090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778"
         "797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5"
         "d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffd9"},
        {"gray_lzw",
         "49492a0032000000800002e2e22970e68a128f0a66a40a615e4a309e11ea65eb50de864ead196e27ca5156c26cbc00e1e808"
         "0900000103000100000007000000010103000100000005000000020103000100000008000000030103000100000005000000"
         "06010300010000000100000011010400010000000800000016010300010000000500000017010400010000002a0000001c01"
         "0300010000000100000000000000"},
        {"rgba_deflate",
         "49492a0084000000789c63b0a9d8221edc7f5a2f6bd923d7c6bd3f63665c11285eff5abdeb18939d6ae2dc9b40e90f406976"
         "a0b41c50da1428ed03944ef66a3bf40f282d0a94d6014a3b03a5a380d28540e98efcd5cf9581d25640e940a0740650ba1e28"
         "3d0d28bd76ca051e0fa0743c50ba0c28dd0b945e0294de0d94be04006783466d0b0000010300010000000700000001010300"
         "010000000500000002010300040000000e010000030103000100000008000000060103000100000002000000110104000100"
         "00000800000015010300010000000400000016010300010000000500000017010400010000007c0000001c01030001000000"
         "01000000520103000100000002000000000000000800080008000800"},
        {"palette",
         "49492a00080000000a0000010400010000000700000001010400010000000500000002010300010000000800000003010300"
         "0100000001000000060103000100000003000000110104000100000086060000160104000100000005000000170104000100"
         "0000230000001c01030001000000010000004001030000030000860000000000000000bc00af00a90098008f008000710072"
         "005300410026001700ee00d70069000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000f800eb"
         "00e500d400cb00bc00ad00ae008f007d00620053002a00130025003c00000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "00000000000000000034002700210010000700f800e9009400cb00b9009e008f0066004f0061007800000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "00000000000000000000000000000000000000000f0b0a090806040a0908060503010808060402000d060503010d0d0c0302"
         "000d0c0f0b"},
        {"bilevel_g4",
         "49492a001400000004128417a492f1a10a002002090000010300010000000700000001010300010000000500000002010300"
         "0100000001000000030103000100000004000000060103000100000001000000110104000100000008000000160103000100"
         "00000500000017010400010000000c0000001c010300010000000100000000000000"},
        {"cmyk",
         "49492a00080000000a0000010400010000000700000001010400010000000500000002010300040000008600000003010300"
         "010000000100000006010300010000000500000011010400010000008e000000150103000100000004000000160104000100"
         "00000500000017010400010000008c0000001c0103000100000001000000000000000800080008000800003c78b417538fcb"
         "2e6aa6e24581bdf95c98d41073afeb278ac6023e25619dd93c78b4f0538fcb076aa6e21e81bdf93598d4104cafeb27634a86"
         "c2fe619dd91578b4f02c8fcb0743a6e21e5abdf93571d4104c886fabe72386c2fe3a9dd91551b4f02c68cb07437fe21e5a96"
         "f93571ad94d00c48abe7235fc2fe3a76d915518df02c68a407437fbb1e5a96d2"},
    };
    return from_hexadecimal(hexadecimal);
}

// Sample s of a pixel is (37 y + 23 x + 60 s) mod 2^bits, times 257 and plus 5 y with 16 bits.
struct TiffCase {
    std::uint32_t H = 5, W = 7;
    int bits = 8, samples = 3;
    // 0 white is zero, 1 black is zero, 2 RGB, 3 palette whose colors are those that RGB would have, 5 CMYK.
    int photometric = 2;
    int extra = -1;  // kind of the samples beyond the colors; -1: not declared
    int orientation = 1;
    int format = 1;          // 1 unsigned, 2 signed, 3 float
    std::uint32_t tile = 0;  // side of tiles; 0: strips of two rows
    bool planar = false, big_endian = false;
    int pages = 1;

    std::uint32_t sample(std::uint32_t y, std::uint32_t x, int s) const {
        const std::uint32_t value = (37 * y + 23 * x + 60 * static_cast<std::uint32_t>(s)) % 256;
        return bits == 16 ? std::min(65535u, 257 * value + 5 * y) : value;
    }
};

inline std::string tiff(const TiffCase& c) {
    std::string file;
    const auto put = [&](std::string& to, std::uint32_t value, int bytes) {
        for (int i = 0; i < bytes; ++i)
            to += static_cast<char>(value >> (8 * (c.big_endian ? bytes - 1 - i : i)));
    };
    file += c.big_endian ? "MM" : "II";
    put(file, 42, 2);
    put(file, 8, 4);
    for (int page = 0; page < c.pages; ++page) {
        // Blocks of pixels: strips or tiles, of each plane.
        std::vector<std::string> blocks;
        const std::uint32_t rows = c.tile > 0 ? c.tile : 2, columns = c.tile > 0 ? c.tile : c.W;
        for (int plane = 0; plane < (c.planar ? c.samples : 1); ++plane)
            for (std::uint32_t top = 0; top < c.H; top += rows)
                for (std::uint32_t left = 0; left < c.W; left += columns) {
                    std::string& block = blocks.emplace_back();
                    const std::uint32_t bottom = c.tile > 0 ? top + rows : std::min(top + rows, c.H);
                    for (std::uint32_t y = top; y < bottom; ++y)
                        for (std::uint32_t x = left; x < left + columns; ++x)
                            for (int s = 0; s < (c.planar ? 1 : c.samples); ++s)
                                put(block, c.sample(y, x, c.planar ? plane : s), c.bits / 8);
                }
        struct Entry {
            int tag, type;
            std::vector<std::uint32_t> values;
        };
        constexpr int kShort = 3, kLong = 4;
        const auto each = [&](int value) {
            return std::vector<std::uint32_t>(static_cast<std::size_t>(c.samples),
                                              static_cast<std::uint32_t>(value));
        };
        const auto one = [](int value) {
            return std::vector<std::uint32_t>{static_cast<std::uint32_t>(value)};
        };
        std::vector<std::uint32_t> sizes, offsets(blocks.size(), 0);
        for (const std::string& block : blocks) sizes.push_back(static_cast<std::uint32_t>(block.size()));
        std::vector<Entry> entries = {{256, kLong, {c.W}},
                                      {257, kLong, {c.H}},
                                      {258, kShort, each(c.bits)},
                                      {259, kShort, one(1)},
                                      {262, kShort, one(c.photometric)}};
        if (c.tile == 0) entries.push_back({273, kLong, offsets});
        entries.push_back({274, kShort, one(c.orientation)});
        entries.push_back({277, kShort, one(c.samples)});
        if (c.tile == 0) entries.insert(entries.end(), {{278, kLong, {rows}}, {279, kLong, sizes}});
        entries.push_back({284, kShort, one(c.planar ? 2 : 1)});
        if (c.photometric == 3) {
            std::vector<std::uint32_t> colors;
            for (std::uint32_t s = 0; s < 3; ++s)
                for (std::uint32_t index = 0; index < 256; ++index)
                    colors.push_back(257 * ((index + 60 * s) % 256));
            entries.push_back({320, kShort, colors});
        }
        if (c.tile > 0)
            entries.insert(
                entries.end(),
                {{322, kLong, {c.tile}}, {323, kLong, {c.tile}}, {324, kLong, offsets}, {325, kLong, sizes}});
        const int colors = c.photometric == 2 ? 3 : c.photometric == 5 ? 4 : 1;
        if (c.extra >= 0)
            entries.push_back({338, kShort,
                               std::vector<std::uint32_t>(static_cast<std::size_t>(c.samples - colors),
                                                          static_cast<std::uint32_t>(c.extra))});
        entries.push_back({339, kShort, each(c.format)});

        // Behind the directory come values longer than 4 bytes, then the blocks.
        const std::size_t begin = file.size(), directory = 2 + 12 * entries.size() + 4;
        std::size_t next = begin + directory;
        for (const Entry& entry : entries)
            if (const std::size_t bytes = entry.values.size() * (entry.type == kShort ? 2 : 4); bytes > 4)
                next += bytes;
        for (std::size_t i = 0; i < blocks.size(); next += blocks[i++].size())
            offsets[i] = static_cast<std::uint32_t>(next);
        std::string far;
        put(file, static_cast<std::uint32_t>(entries.size()), 2);
        for (Entry& entry : entries) {
            if (entry.tag == 273 || entry.tag == 324) entry.values = offsets;
            const int size = entry.type == kShort ? 2 : 4;
            std::string values;
            for (const std::uint32_t value : entry.values) put(values, value, size);
            put(file, static_cast<std::uint32_t>(entry.tag), 2);
            put(file, static_cast<std::uint32_t>(entry.type), 2);
            put(file, static_cast<std::uint32_t>(entry.values.size()), 4);
            if (values.size() > 4) {
                put(file, static_cast<std::uint32_t>(begin + directory + far.size()), 4);
                far += values;
            } else {
                values.resize(4, '\0');
                file += values;
            }
        }
        put(file, page + 1 < c.pages ? static_cast<std::uint32_t>(next) : 0, 4);
        file += far;
        for (const std::string& block : blocks) file += block;
    }
    return file;
}

// Every layout that is read directly, and palettes, by name.
inline std::vector<std::pair<std::string, TiffCase>> tiff_cases() {
    std::vector<std::pair<std::string, TiffCase>> cases;
    for (const int bits : {8, 16})
        for (const bool big_endian : {false, true}) {
            const std::string end = std::to_string(bits) + (big_endian ? "_big" : "_little");
            TiffCase plain;
            plain.bits = bits;
            plain.big_endian = big_endian;
            TiffCase gray = plain, white = plain, gray_alpha = plain, alpha = plain, premultiplied = plain,
                     ignored = plain, planar = plain, tiles = plain, planar_tiles = plain;
            gray.samples = white.samples = gray.photometric = 1;
            white.photometric = 0;
            gray_alpha.samples = 2;
            gray_alpha.photometric = 1;
            alpha.samples = premultiplied.samples = ignored.samples = planar_tiles.samples = 4;
            gray_alpha.extra = alpha.extra = planar_tiles.extra = 2;
            premultiplied.extra = 1;
            ignored.extra = 0;
            planar.planar = planar_tiles.planar = true;
            tiles.tile = planar_tiles.tile = 16;
            tiles.H = planar_tiles.W = 19;
            for (const auto& [name, one] : {std::pair{"rgb", plain},
                                            {"gray", gray},
                                            {"white", white},
                                            {"gray_alpha", gray_alpha},
                                            {"alpha", alpha},
                                            {"premultiplied", premultiplied},
                                            {"ignored", ignored},
                                            {"planar", planar},
                                            {"tiles", tiles},
                                            {"planar_tiles", planar_tiles}})
                cases.emplace_back(std::string(name) + end, one);
        }
    for (int orientation = 2; orientation <= 8; ++orientation) {
        TiffCase turned;
        turned.orientation = orientation;
        cases.emplace_back("turned" + std::to_string(orientation), turned);
    }
    for (const bool big_endian : {false, true}) {
        TiffCase palette;
        palette.samples = 1;
        palette.photometric = 3;
        palette.tile = 16;
        palette.W = 19;
        palette.big_endian = big_endian;
        cases.emplace_back(big_endian ? "palette_tiles_big" : "palette_tiles_little", palette);
        palette.samples = 3;
        palette.extra = 0;
        cases.emplace_back(big_endian ? "palette_ignored_big" : "palette_ignored_little", palette);
        palette.samples = 2;
        palette.extra = 2;
        palette.planar = big_endian;
        cases.emplace_back(big_endian ? "palette_alpha_planar" : "palette_alpha", palette);
    }
    TiffCase pages;
    pages.pages = 2;
    cases.emplace_back("pages", pages);
    return cases;
}

}  // namespace glow::make
