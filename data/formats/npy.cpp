#include "data/formats/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <limits>

#include "data/formats/atomic_file.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kLongestHeader = 1 << 16, kMaxElements = index_t{1} << 50;
constexpr std::size_t kMaxAxes = 32;   // NumPy's own limit
constexpr std::size_t kMaxNames = 20;  // array names listed in a message

// Parses {'descr': '|u1', 'fortran_order': False, 'shape': (100, 3072), }.
class Parser {
  public:
    Parser(const std::string& text, const std::string& shown) : text_(text), shown_(shown) {}

    NpyHeader parse() {
        NpyHeader header;
        bool descr = false, order = false, shape = false;
        expect('{');
        while (!accept('}')) {
            const std::string key = string();
            expect(':');
            if (key == "descr" && !descr) {
                descr = true;
                type(string(), header);
            } else if (key == "fortran_order" && !order) {
                order = true;
                header.fortran_order = boolean();
            } else if (key == "shape" && !shape) {
                shape = true;
                tuple(header);
            } else {
                refuse(fmt::format("has an unexpected key '{:.20}'", key));
            }
            if (!accept(',')) {
                expect('}');
                break;
            }
        }
        skip();
        if (at_ != text_.size()) refuse("has text after its end");
        if (!descr || !order || !shape) refuse("has no descr, fortran_order or shape");
        return header;
    }

  private:
    [[noreturn]] void refuse(const std::string& what) const {
        throw InputError(fmt::format("{}: its NumPy header {}", shown_, what));
    }
    void skip() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    }
    bool accept(char character) {
        skip();
        if (at_ == text_.size() || text_[at_] != character) return false;
        ++at_;
        return true;
    }
    void expect(char character) {
        if (!accept(character)) refuse(fmt::format("lacks '{}' at byte {}", character, at_));
    }
    std::string string() {
        skip();
        const char quote = at_ < text_.size() ? text_[at_] : ' ';
        const std::size_t end =
            quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : std::string::npos;
        if (end == std::string::npos) refuse("has a value that is not a string (a structured type?)");
        const std::string value = text_.substr(at_ + 1, end - at_ - 1);
        at_ = end + 1;
        return value;
    }
    bool boolean() {
        skip();
        for (const bool value : {true, false}) {
            const std::string word = value ? "True" : "False";
            if (text_.compare(at_, word.size(), word) != 0) continue;
            at_ += word.size();
            return value;
        }
        refuse("has a fortran_order other than True or False");
    }
    index_t number() {
        skip();
        index_t value = 0;
        const std::size_t first = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
            value = 10 * value + (text_[at_++] - '0');
            if (value > kMaxElements) refuse("claims too many elements");
        }
        if (at_ == first) refuse("has a shape that is not a tuple of numbers");
        if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 long
        return value;
    }
    void tuple(NpyHeader& header) {
        expect('(');
        while (!accept(')')) {
            header.shape.push_back(number());
            if (header.shape.size() > kMaxAxes) refuse("has too many axes");
            if (!accept(',')) {
                expect(')');
                break;
            }
        }
        header.elements = 1;
        for (const index_t size : header.shape) {
            if (size != 0 && header.elements > kMaxElements / size) refuse("claims too many elements");
            header.elements *= size;
        }
    }
    void type(const std::string& descr, NpyHeader& header) const {
        const bool fine = descr.size() == 3 && std::string("<>|=").find(descr[0]) != std::string::npos &&
                          std::string("uifb").find(descr[1]) != std::string::npos &&
                          std::string("1248").find(descr[2]) != std::string::npos;
        if (!fine) refuse(fmt::format("has the type '{:.20}': expected a number", descr));
        header.big_endian = descr[0] == '>';
        header.kind = descr[1];
        header.element_bytes = descr[2] - '0';
    }

    const std::string& text_;
    const std::string& shown_;
    std::size_t at_ = 0;
};

const ZipEntry* find(const std::vector<ZipEntry>& entries, const std::string& name) {
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [&](const ZipEntry& entry) { return entry.name == name + ".npy"; });
    return found == entries.end() ? nullptr : &*found;
}

// Array names for messages: "x, y".
std::string names_of(const std::vector<ZipEntry>& entries) {
    if (entries.empty()) return "none";
    std::string text;
    for (std::size_t i = 0; i < std::min(entries.size(), kMaxNames); ++i) {
        const std::string& name = entries[i].name;
        text += fmt::format("{}{:.60}", i > 0 ? ", " : "",
                            name.ends_with(".npy") ? name.substr(0, name.size() - 4) : name);
    }
    if (entries.size() > kMaxNames) text += fmt::format(" and {} more", entries.size() - kMaxNames);
    return text;
}

}  // namespace

std::string NpyHeader::type_text() const {
    if (kind == 'b') return "bool";
    return fmt::format("{}{}", kind == 'u' ? "uint" : kind == 'i' ? "int" : "float", 8 * element_bytes);
}

NpyHeader parse_npy_header(const std::string& text, const std::string& shown) {
    return Parser(text, shown).parse();
}

bool has_array(const std::vector<ZipEntry>& entries, const std::string& name) {
    return find(entries, name) != nullptr;
}

NpyReader::NpyReader(const std::filesystem::path& path, const std::vector<ZipEntry>& entries,
                     const std::string& name)
    : shown_(fmt::format("{}: {}", path.string(), name)) {
    const ZipEntry* const entry = find(entries, name);
    if (entry == nullptr)
        throw InputError(
            fmt::format("{}: no array \"{}\"; the archive has {}", path.string(), name, names_of(entries)));
    reader_ = std::make_unique<ZipReader>(path, *entry);
    std::uint8_t start[12] = {};
    reader_->read(8, start);
    if (std::string(start, start + 6) != "\x93NUMPY" || start[6] < 1 || start[6] > 3)
        throw InputError(shown_ + ": is not a NumPy array of format 1 to 3");
    const int length_bytes = start[6] == 1 ? 2 : 4;
    reader_->read(length_bytes, start + 8);
    index_t length = 0;
    for (int i = length_bytes - 1; i >= 0; --i) length = length << 8 | start[8 + i];
    if (length > kLongestHeader)
        throw InputError(fmt::format("{}: its NumPy header claims to have {} bytes", shown_, length));
    std::string text(static_cast<std::size_t>(length), ' ');
    reader_->read(length, text.data());
    header_ = parse_npy_header(text, shown_);
    if (header_.elements * header_.element_bytes != reader_->bytes_left())
        throw InputError(fmt::format("{}: claims {} elements of {} bytes but has {} bytes", shown_,
                                     header_.elements, header_.element_bytes, reader_->bytes_left()));
}

std::vector<std::int64_t> NpyReader::read_integers() {
    if (header_.kind != 'u' && header_.kind != 'i')
        throw InputError(fmt::format("{}: expected integers, found {}", shown_, header_.type_text()));
    // Read in chunks: allocate only as data arrives, not by what the header claims.
    constexpr index_t kChunk = index_t{1} << 16;
    const int bytes = header_.element_bytes;
    std::vector<std::uint8_t> chunk(static_cast<std::size_t>(kChunk * bytes));
    std::vector<std::int64_t> values;
    for (index_t first = 0; first < header_.elements; first += kChunk) {
        const index_t count = std::min(kChunk, header_.elements - first);
        read(count, chunk.data());
        for (index_t n = 0; n < count; ++n) {
            std::uint64_t value = 0;
            for (int i = 0; i < bytes; ++i)
                value = value << 8 |
                        chunk[static_cast<std::size_t>(n * bytes + (header_.big_endian ? i : bytes - 1 - i))];
            if (header_.kind == 'i' && bytes < 8 && (value >> (8 * bytes - 1)) != 0)
                value |= ~std::uint64_t{0} << (8 * bytes);
            if (header_.kind == 'u' &&
                value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
                throw InputError(fmt::format("{}: {} is out of range", shown_, value));
            values.push_back(static_cast<std::int64_t>(value));
        }
    }
    return values;
}

void write_npy(const std::filesystem::path& path, const std::vector<index_t>& shape,
               const std::vector<double>& values) {
    static_assert(std::endian::native == std::endian::little, "numbers are written in memory order");
    constexpr std::size_t kPrefix = 10, kAlign = 64;  // the elements begin at a multiple of 64 bytes
    std::string header = fmt::format("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}{}), }}",
                                     fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
    header.append(kAlign - (kPrefix + header.size() + 1) % kAlign, ' ');
    header += '\n';
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        std::ofstream file(temporary, std::ios::binary);
        file << "\x93NUMPY" << '\1' << '\0' << static_cast<char>(header.size() & 0xff)
             << static_cast<char>(header.size() >> 8) << header;
        file.write(reinterpret_cast<const char*>(values.data()),
                   std::ssize(values) * static_cast<std::streamsize>(sizeof(double)));
        close_written(file, path);
    });
}

}  // namespace glow
