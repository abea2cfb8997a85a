// An HDF5 file: arrays and attributes by name, checked before anything is allocated, for data sets,
// checkpoints and latents. Arrays are row-major. A file from elsewhere is not trusted: what it claims is
// compared with its size, and nothing is read from outside it (external storage, external links, virtual data
// sets). HDF5 itself is for one thread at a time: a lock within makes any number of threads safe, each with
// files of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

enum class ElementType { uint8, int32, float32, float64, other };

struct ArrayInfo {
    ElementType type;
    std::vector<index_t> shape;  // empty: a scalar
    index_t elements;            // product of the shape
};

// How an array's rows lie in the file.
struct ChunkInfo {
    index_t rows = 0;       // of a chunk; 0: not in chunks
    index_t bytes = 0;      // of a chunk, unpacked
    index_t row_bytes = 0;  // of a row
    bool packed = false;    // compressed or otherwise filtered, so that a chunk is read whole
    // Rows' worth of bytes that are unpacked to read one row.
    index_t rows_unpacked = 1;
};

// "[50000, 32, 32, 3]"
std::string shape_text(const std::vector<index_t>& shape);

// Every function throws InputError for what is wrong with a file that is read (the message names file,
// object, what was expected and what came) and Error where writing fails. T is std::uint8_t, std::int32_t,
// float or double and must be the file's own type (of either byte order): nothing is converted silently.
class Hdf5File {
  public:
    // Opens for reading. InputError: missing, a folder, not HDF5, truncated, or damaged so that HDF5 itself
    // crashes or loops (found out by a child process).
    static Hdf5File open(const std::filesystem::path& path);
    // Creates or overwrites; combine with AtomicFile. `shown` is the name errors speak of (the final one).
    static Hdf5File create(const std::filesystem::path& path, const std::filesystem::path& shown = {});

    ~Hdf5File();
    Hdf5File(Hdf5File&& other) noexcept;
    Hdf5File& operator=(Hdf5File&& other) noexcept;

    // Flushes and closes; Error if the disk is full. A written file must be closed so: the destructor is
    // silent.
    void close();

    const std::filesystem::path& path() const { return shown_; }

    // Is there an array or a group of this name ("/train/images")?
    bool exists(const std::string& name) const;
    // Full names of all arrays below the group, at any depth, sorted: {"/params/...", ...}. Empty without the
    // group.
    std::vector<std::string> arrays(const std::string& group = "/") const;
    // Type and shape of an array, without reading it. The elements are no more than the file can hold.
    ArrayInfo describe(const std::string& name) const;
    ChunkInfo chunks(const std::string& name) const;

    // The whole array; its shape must be `shape`.
    template <class T>
    void read(const std::string& name, const std::vector<index_t>& shape, T* values) const;
    template <class T>
    std::vector<T> read(const std::string& name, const std::vector<index_t>& shape) const;
    // Rows first .. first + count - 1 along the first axis of an array of any shape of rank >= 1.
    template <class T>
    void read_rows(const std::string& name, index_t first, index_t count, T* values) const;
    // Rows of a uint8 array one by one: rows[i] -> values [count, row elements]. The array is opened and
    // checked at the first call and kept open: many times faster than read_rows() where a file has many
    // chunks. Rising row numbers are read fastest.
    void read_scattered_rows(const std::string& name, const index_t* rows, index_t count,
                             std::uint8_t* values) const;

    // A new array of a fixed shape. Groups on the way are made.
    template <class T>
    void write(const std::string& name, const std::vector<index_t>& shape, const T* values);
    // A new array [0, row_shape...] that append() lengthens by `rows` rows.
    template <class T>
    void create_growing(const std::string& name, const std::vector<index_t>& row_shape);
    template <class T>
    void append(const std::string& name, index_t rows, const T* values);
    void create_group(const std::string& name);

    // An array [N] of strings: written in UTF-8, padded to the longest; read also where their lengths vary.
    void write_strings(const std::string& name, const std::vector<std::string>& strings);
    std::vector<std::string> read_strings(const std::string& name) const;

    // Attributes of an array or group ("/" is the root). Strings of fixed or variable length; any integer
    // type that fits; numbers are of any floating or integer type.
    bool has_attribute(const std::string& object, const std::string& name) const;
    std::string string_attribute(const std::string& object, const std::string& name) const;
    std::int64_t integer_attribute(const std::string& object, const std::string& name) const;
    double number_attribute(const std::string& object, const std::string& name) const;
    // New attributes; strings are written as UTF-8 of variable length. Replaces one of the same name.
    void set_string(const std::string& object, const std::string& name, const std::string& value);
    void set_integer(const std::string& object, const std::string& name, std::int64_t value);
    void set_number(const std::string& object, const std::string& name, double value);

    // "1.10.8"
    static std::string library_version();

  private:
    Hdf5File(std::int64_t id, std::filesystem::path shown, index_t bytes);
    static Hdf5File open_unchecked(const std::filesystem::path& path);
    static void refuse_if_deadly(const std::filesystem::path& path);

    void close_quietly() noexcept;

    struct SavedArray;
    std::int64_t id_;                          // hid_t; -1 when closed
    mutable std::unique_ptr<SavedArray> kept_;  // of read_scattered_rows()
    std::filesystem::path shown_;
    index_t bytes_;  // size of a file opened for reading; -1 while writing
};

}  // namespace glow
