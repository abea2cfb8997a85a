// ZIP archives as NumPy writes them: stored or deflated entries, also above 4 GiB (ZIP64). Archives are
// untrusted: offsets and sizes are checked against the file, and checksums are verified. Format: PKWARE
// APPNOTE.TXT 6.3, sections 4.3 and 4.5.3.
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
    index_t compressed = 0, bytes = 0, header = 0;  // header: offset of the local header
};

// Lists the entries of the central directory. Throws InputError if the file is missing, not an archive,
// damaged, split into volumes, encrypted, or has more than 65,535 entries.
std::vector<ZipEntry> list_zip(const std::filesystem::path& path);

// One entry, read sequentially. Throws InputError for another method, damage, early end or a wrong checksum.
class ZipReader {
  public:
    ZipReader(const std::filesystem::path& path, const ZipEntry& entry);
    ~ZipReader();
    ZipReader(const ZipReader&) = delete;
    ZipReader& operator=(const ZipReader&) = delete;

    index_t bytes_left() const { return left_; }
    // The next bytes. Verifies the checksum after the last one.
    void read(index_t bytes, void* to);

  private:
    struct Stream;
    [[noreturn]] void refuse(const std::string& what) const;
    void inflate_chunk(std::uint8_t* to, index_t bytes);

    std::string shown_;
    ZipEntry entry_;
    index_t left_;
    std::unique_ptr<Stream> stream_;
};

}  // namespace glow
