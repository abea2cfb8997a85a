// ZIP archives as NumPy writes them: entries stored or deflated, also beyond 4 GiB (ZIP64). An archive from
// elsewhere is not trusted: places and sizes are compared with the file, and check sums are compared.
// PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.5.3.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

struct ZipEntry {
    std::string name;
    int method = 0;  // 0 stored, 8 deflated
    std::uint32_t crc = 0;
    index_t compressed = 0, bytes = 0, header = 0;  // header: where in the file its local header begins
};

// The entries by the central directory. InputError: missing, no archive, damaged, in several volumes, more
// than 65,535 entries, encrypted.
std::vector<ZipEntry> list_zip(const std::filesystem::path& path);

// One entry from front to end. InputError: a method that is none of the two, damaged, shorter than the
// directory says, another check sum.
class ZipReader {
  public:
    ZipReader(const std::filesystem::path& path, const ZipEntry& entry);
    ~ZipReader();
    ZipReader(const ZipReader&) = delete;
    ZipReader& operator=(const ZipReader&) = delete;

    index_t bytes_left() const { return left_; }
    // The next bytes. With the last one the check sum is compared.
    void read(index_t bytes, void* to);

  private:
    struct Stream;
    [[noreturn]] void refuse(const std::string& what) const;
    void inflate_piece(std::uint8_t* to, index_t bytes);

    std::string shown_;
    ZipEntry entry_;
    index_t left_;
    std::unique_ptr<Stream> stream_;
};

}  // namespace glow
