// Reads arrays from NumPy .npz archives, and writes .npy files: a header (a Python dictionary with type,
// order and shape) and the elements (NEP 1). An archive is a ZIP file of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/formats/zip.h"

namespace glow {

struct NpyHeader {
    char kind = 'u';        // 'u' unsigned, 'i' signed, 'f' floating, 'b' boolean
    int element_bytes = 1;  // 1, 2, 4 or 8
    bool big_endian = false;
    bool fortran_order = false;
    std::vector<index_t> shape;  // empty: a scalar
    index_t elements = 1;

    std::string type_text() const;  // "uint8", "float32", "bool"
};

// Parses the dictionary of a header. Throws InputError, prefixed by `shown`, unless it has exactly these
// three keys and a simple type.
NpyHeader parse_npy_header(const std::string& text, const std::string& shown);

// One array of an archive, read sequentially. Throws InputError if the array is missing or damaged, or its
// size does not match its shape.
class NpyReader {
  public:
    // `name` without ".npy"
    NpyReader(const std::filesystem::path& path, const std::vector<ZipEntry>& entries,
              const std::string& name);

    const NpyHeader& header() const { return header_; }
    const std::string& shown() const { return shown_; }
    // The next elements, unconverted.
    void read(index_t elements, void* to) { reader_->read(elements * header_.element_bytes, to); }
    // All elements of any integer type; values must fit.
    std::vector<std::int64_t> read_integers();

  private:
    std::string shown_;
    std::unique_ptr<ZipReader> reader_;
    NpyHeader header_;
};

// Writes values of a shape as a .npy file of float64, atomically. Throws InputError if the file cannot be
// written, Error if the disk is full.
void write_npy(const std::filesystem::path& path, const std::vector<index_t>& shape,
               const std::vector<double>& values);

// Whether the archive has an array of this name.
bool has_array(const std::vector<ZipEntry>& entries, const std::string& name);

}  // namespace glow
