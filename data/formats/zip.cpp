#include "data/formats/zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <string>

#include "data/formats/input_path.h"
#include "data/formats/seek.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kDirectoryBytes = 46,
                  kLocalBytes = 30;
constexpr std::uint32_t kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator = 0x07064b50,
                        kDirectory = 0x02014b50, kLocal = 0x04034b50;
constexpr index_t kMaxEntries = 65535, kMaxComment = 65535;
constexpr std::uint16_t kZip64Field = 1, kEncrypted = 1;
constexpr std::size_t kChunk = std::size_t{1} << 20;  // compressed bytes read at once

[[noreturn]] void refuse_file(const std::filesystem::path& path, const std::string& what) {
    throw InputError(fmt::format("{}: {}", path.string(), what));
}

// After a failed read.
[[noreturn]] void throw_read_error(const std::string& shown, const std::istream& stream) {
    if (const std::string problem = read_problem(stream); !problem.empty())
        throw Error(fmt::format("{}: cannot be read: {}", shown, problem));
    refuse_file(shown, "cannot be read: it became shorter");
}

// Little-endian numbers in a range of the file.
class Bytes {
  public:
    explicit Bytes(std::vector<char> bytes) : bytes_(std::move(bytes)) {}
    index_t size() const { return static_cast<index_t>(bytes_.size()); }
    std::uint64_t number(index_t at, int bytes) const {
        std::uint64_t value = 0;
        for (int i = bytes - 1; i >= 0; --i)
            value = value << 8 | static_cast<std::uint8_t>(bytes_[static_cast<std::size_t>(at + i)]);
        return value;
    }
    std::uint16_t u16(index_t at) const { return static_cast<std::uint16_t>(number(at, 2)); }
    std::uint32_t u32(index_t at) const { return static_cast<std::uint32_t>(number(at, 4)); }
    std::string text(index_t at, index_t bytes) const {
        return {bytes_.data() + at, static_cast<std::size_t>(bytes)};
    }

  private:
    std::vector<char> bytes_;
};

struct InputFile {
    explicit InputFile(const std::filesystem::path& path) : path(path) {
        if (const std::string problem = file_problem(path); !problem.empty())
            refuse_file(path, "cannot be read: " + problem);
        std::error_code code;
        bytes = static_cast<index_t>(std::filesystem::file_size(path, code));
        if (code) refuse_file(path, "cannot be read: " + code.message());
        stream.open(path, std::ios::binary);
        if (!stream) refuse_file(path, fmt::format("cannot be read: {}", std::strerror(errno)));
    }
    Bytes read(index_t first, index_t count) {
        if (first < 0 || count < 0 || first > bytes - count)
            refuse_file(path, "is a damaged ZIP archive: it points beyond its end");
        std::vector<char> to(static_cast<std::size_t>(count));
        seek(stream, first);
        stream.read(to.data(), count);
        if (!stream) throw_read_error(path, stream);
        return Bytes(std::move(to));
    }
    const std::filesystem::path& path;
    std::ifstream stream;
    index_t bytes;
};

struct Directory {
    index_t first, bytes, entries;
};

// Checks that an offset or size of the archive fits index_t.
index_t checked_size(const std::filesystem::path& path, std::uint64_t value) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        refuse_file(path, "is a damaged ZIP archive: a size is too large");
    return static_cast<index_t>(value);
}

Directory find_directory(InputFile& file) {
    const auto& path = file.path;
    const index_t tail_bytes = std::min(file.bytes, kEndBytes + kMaxComment);
    const index_t tail_at = file.bytes - tail_bytes;
    const Bytes tail = file.read(tail_at, tail_bytes);
    index_t at = tail_bytes - kEndBytes;
    while (at >= 0 && !(tail.u32(at) == kEnd && at + kEndBytes + tail.u16(at + 20) == tail_bytes)) --at;
    if (at < 0) refuse_file(path, "is not a ZIP archive (.npz files are) or is truncated");
    if (tail.u16(at + 4) != 0 && tail.u16(at + 4) != 0xffff)
        refuse_file(path, "is one of several volumes of a ZIP archive");
    Directory found{static_cast<index_t>(tail.u32(at + 16)), static_cast<index_t>(tail.u32(at + 12)),
                    static_cast<index_t>(tail.u16(at + 10))};
    if (found.first == 0xffffffff || found.bytes == 0xffffffff || found.entries == 0xffff) {
        const index_t locator_at = tail_at + at - kLocatorBytes;
        if (locator_at < 0) refuse_file(path, "is a damaged ZIP archive: its ZIP64 record is missing");
        const Bytes locator = file.read(locator_at, kLocatorBytes);
        if (locator.u32(0) != kLocator)
            refuse_file(path, "is a damaged ZIP archive: its ZIP64 record is missing");
        const Bytes end = file.read(checked_size(path, locator.number(8, 8)), kEnd64Bytes);
        if (end.u32(0) != kEnd64) refuse_file(path, "is a damaged ZIP archive: its ZIP64 record is missing");
        found = {checked_size(path, end.number(48, 8)), checked_size(path, end.number(40, 8)),
                 checked_size(path, end.number(32, 8))};
    }
    if (found.entries > kMaxEntries || found.entries * kDirectoryBytes > found.bytes)
        refuse_file(path, fmt::format("is a damaged ZIP archive: {} entries in a directory of {} bytes",
                                      found.entries, found.bytes));
    return found;
}

// Reads sizes that do not fit in 32 bits from the entry's extra field.
void read_zip64(const std::filesystem::path& path, const Bytes& directory, index_t at, index_t end,
                ZipEntry& entry) {
    while (at + 4 <= end) {
        const std::uint16_t id = directory.u16(at);
        index_t next = at + 4 + directory.u16(at + 2);
        if (next > end) break;
        if (id == kZip64Field) {
            at += 4;
            for (index_t* value : {&entry.bytes, &entry.compressed, &entry.header}) {
                if (*value != 0xffffffff) continue;
                if (at + 8 > next) refuse_file(path, "is a damaged ZIP archive: a ZIP64 field is too short");
                *value = checked_size(path, directory.number(at, 8));
                at += 8;
            }
            return;
        }
        at = next;
    }
}

}  // namespace

std::vector<ZipEntry> list_zip(const std::filesystem::path& path) {
    InputFile file(path);
    const Directory where = find_directory(file);
    const Bytes directory = file.read(where.first, where.bytes);
    std::vector<ZipEntry> entries;
    std::set<std::string> names;
    index_t at = 0;
    for (index_t n = 0; n < where.entries; ++n) {
        if (at + kDirectoryBytes > directory.size() || directory.u32(at) != kDirectory)
            refuse_file(path,
                        fmt::format("is a damaged ZIP archive: entry {} of its directory is invalid", n));
        const index_t name = directory.u16(at + 28), extra = directory.u16(at + 30),
                      comment = directory.u16(at + 32), next = at + kDirectoryBytes + name + extra + comment;
        if (next > directory.size())
            refuse_file(path, "is a damaged ZIP archive: its directory is truncated");
        ZipEntry entry{directory.text(at + kDirectoryBytes, name),
                       directory.u16(at + 10),
                       directory.u32(at + 16),
                       static_cast<index_t>(directory.u32(at + 20)),
                       static_cast<index_t>(directory.u32(at + 24)),
                       static_cast<index_t>(directory.u32(at + 42))};
        if ((directory.u16(at + 8) & kEncrypted) != 0)
            refuse_file(path, fmt::format("entry {:.60} is encrypted", entry.name));
        read_zip64(path, directory, at + kDirectoryBytes + name, at + kDirectoryBytes + name + extra, entry);
        if (!names.insert(entry.name).second)
            refuse_file(path, fmt::format("has two entries named {:.60}: which of them is meant is unknown",
                                          entry.name));
        entries.push_back(std::move(entry));
        at = next;
    }
    return entries;
}

struct ZipReader::Stream {
    ~Stream() {
        if (inflating) inflateEnd(&z);
    }
    std::ifstream file;
    index_t compressed_left = 0;
    z_stream z{};
    bool inflating = false, ended = false;
    std::vector<std::uint8_t> chunk;
    std::uint32_t crc = 0;
};

ZipReader::~ZipReader() = default;

void ZipReader::refuse(const std::string& what) const {
    throw InputError(fmt::format("{}: {}", shown_, what));
}

ZipReader::ZipReader(const std::filesystem::path& path, const ZipEntry& entry)
    : shown_(fmt::format("{}: {:.60}", path.string(), entry.name)),
      entry_(entry),
      left_(entry.bytes),
      stream_(std::make_unique<Stream>()) {
    InputFile file(path);
    const Bytes local = file.read(entry.header, kLocalBytes);
    if (local.u32(0) != kLocal) refuse("is damaged: its local header is invalid");
    const index_t data = entry.header + kLocalBytes + local.u16(26) + local.u16(28);
    if (entry.compressed > file.bytes - data || data > file.bytes)
        refuse(fmt::format("claims {} bytes beyond the archive's end", entry.compressed));
    if (entry.method != 0 && entry.method != 8)
        refuse(fmt::format("is compressed by method {}: expected 0 (stored) or 8 (deflated)", entry.method));
    if (entry.method == 0 && entry.compressed != entry.bytes)
        refuse(fmt::format("is stored as {} bytes but claims {}", entry.compressed, entry.bytes));
    stream_->file = std::move(file.stream);
    seek(stream_->file, data);
    stream_->compressed_left = entry.compressed;
    if (entry.method == 8) {
        if (inflateInit2(&stream_->z, -MAX_WBITS) != Z_OK) throw Error("zlib cannot start: out of memory");
        stream_->inflating = true;
        stream_->chunk.resize(kChunk);
    }
}

void ZipReader::inflate_chunk(std::uint8_t* to, index_t bytes) {
    z_stream& z = stream_->z;
    z.next_out = to;
    z.avail_out = static_cast<unsigned>(bytes);
    while (z.avail_out > 0) {
        if (z.avail_in == 0) {
            const index_t more = std::min(static_cast<index_t>(kChunk), stream_->compressed_left);
            stream_->file.read(reinterpret_cast<char*>(stream_->chunk.data()), more);
            if (!stream_->file) throw_read_error(shown_, stream_->file);
            stream_->compressed_left -= more;
            z.next_in = stream_->chunk.data();
            z.avail_in = static_cast<unsigned>(more);
        }
        const int code = stream_->ended ? Z_STREAM_END : inflate(&z, Z_NO_FLUSH);
        stream_->ended = code == Z_STREAM_END;
        if (z.avail_out == 0) return;
        if (code == Z_STREAM_END) refuse(fmt::format("ends {} bytes early", left_ - (bytes - z.avail_out)));
        if (code != Z_OK && code != Z_BUF_ERROR)
            refuse(fmt::format("is damaged: {}", z.msg != nullptr ? z.msg : "zlib gave no reason"));
        if (z.avail_in == 0 && stream_->compressed_left == 0) refuse("is truncated");
    }
}

void ZipReader::read(index_t bytes, void* to) {
    if (bytes < 0 || bytes > left_) refuse(fmt::format("ends {} bytes early", bytes - left_));
    auto* out = static_cast<std::uint8_t*>(to);
    while (bytes > 0) {
        const index_t chunk = std::min<index_t>(bytes, index_t{1} << 30);  // zlib counts in 32 bits
        if (stream_->inflating) {
            inflate_chunk(out, chunk);
        } else {
            stream_->file.read(reinterpret_cast<char*>(out), chunk);
            if (!stream_->file) throw_read_error(shown_, stream_->file);
        }
        stream_->crc = static_cast<std::uint32_t>(crc32(stream_->crc, out, static_cast<unsigned>(chunk)));
        out += chunk;
        bytes -= chunk;
        left_ -= chunk;
    }
    if (left_ == 0 && stream_->crc != entry_.crc) refuse("is damaged: its checksum does not match");
}

}  // namespace glow
