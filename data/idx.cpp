// gzopen() reads plain and gzip files alike.
#include "data/idx.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "data/formats/input_path.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr int kUint8 = 8, kMaxAxes = 8;
constexpr index_t kMaxRatio = 1040;           // deflate compresses by at most 1032
constexpr index_t kChunk = index_t{1} << 30;  // zlib counts in int
constexpr index_t kMaxBytes = index_t{1} << 50;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what) {
    throw InputError(fmt::format("{}: {}", path.string(), what));
}

}  // namespace

struct IdxReader::Stream {
    explicit Stream(const char* path) : file(gzopen(path, "rb")) {}
    ~Stream() {
        if (file != nullptr) gzclose_r(file);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    gzFile file;
};

IdxReader::~IdxReader() = default;
IdxReader::IdxReader(IdxReader&&) noexcept = default;
IdxReader& IdxReader::operator=(IdxReader&&) noexcept = default;

IdxReader::IdxReader(const std::filesystem::path& path) : path_(path) {
    if (const std::string problem = file_problem(path); !problem.empty())
        refuse(path, "cannot be read: " + problem);
    std::error_code code;
    const auto file_bytes = static_cast<index_t>(std::filesystem::file_size(path, code));
    if (code) refuse(path, "cannot be read: " + code.message());
    errno = 0;
    stream_ = std::make_unique<Stream>(path.c_str());
    if (stream_->file == nullptr)
        refuse(path, fmt::format("cannot be read: {}", errno != 0 ? std::strerror(errno) : "no memory"));

    std::uint8_t magic[4];
    read_bytes(4, magic);
    const bool compressed = gzdirect(stream_->file) == 0;
    if (magic[0] != 0 || magic[1] != 0)
        refuse(path, fmt::format("is not an IDX file: it begins with the bytes {:02x} {:02x} {:02x} {:02x}",
                                 magic[0], magic[1], magic[2], magic[3]));
    if (magic[2] != kUint8)
        refuse(path, fmt::format("expected elements of type 8 (uint8), found type {}", magic[2]));
    if (magic[3] < 1 || magic[3] > kMaxAxes)
        refuse(path, fmt::format("expected 1 to {} axes, found {}", kMaxAxes, magic[3]));
    for (int axis = 0; axis < magic[3]; ++axis) {
        std::uint8_t size[4];
        read_bytes(4, size);
        shape_.push_back(index_t{size[0]} << 24 | index_t{size[1]} << 16 | index_t{size[2]} << 8 | size[3]);
    }
    index_t elements = 1;
    for (const index_t size : shape_) {
        if (size == 0) refuse(path, "has no elements");
        if (elements > kMaxBytes / size) refuse(path, "claims too many elements");
        elements *= size;
    }
    row_bytes_ = elements / shape_[0];
    rows_left_ = shape_[0];
    const index_t header = 4 + 4 * index_t{magic[3]};
    if (compressed && elements > kMaxRatio * file_bytes)
        refuse(path,
               fmt::format("claims {} elements, more than its {} bytes can hold", elements, file_bytes));
    if (!compressed && header + elements != file_bytes)
        refuse(path, fmt::format("has {} bytes, but its header claims {} elements, which take {}", file_bytes,
                                 elements, header + elements));
}

void IdxReader::read_bytes(index_t bytes, void* to) {
    auto* out = static_cast<std::uint8_t*>(to);
    while (bytes > 0) {
        const int got = gzread(stream_->file, out, static_cast<unsigned>(std::min(bytes, kChunk)));
        if (got <= 0) {
            int code = Z_OK;
            const char* text = gzerror(stream_->file, &code);
            if (code == Z_ERRNO)
                throw Error(fmt::format("{}: cannot be read: {}", path_.string(), std::strerror(errno)));
            refuse(path_, code == Z_OK || code == Z_BUF_ERROR || got == 0
                              ? "ends before the elements its header claims"
                              : fmt::format("is damaged: {}", text));
        }
        out += got;
        bytes -= got;
    }
}

void IdxReader::read(index_t count, std::uint8_t* values) {
    if (count < 0 || count > rows_left_)
        throw Error(fmt::format("IdxReader: expected at most {} rows, found {}", rows_left_, count));
    read_bytes(count * row_bytes_, values);
    rows_left_ -= count;
    if (count == 0 || rows_left_ > 0) return;
    std::uint8_t more = 0;
    const int got = gzread(stream_->file, &more, 1);  // also verifies gzip's checksum
    if (got > 0) refuse(path_, "has data after the elements its header claims");
    int code = Z_OK;
    const char* text = gzerror(stream_->file, &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END))
        refuse(path_, fmt::format("is damaged at its end: {}", text));
}

}  // namespace glow
