// HDF5 files for data sets, checkpoints and latents: arrays and attributes by name. Arrays are row-major.
// Files are untrusted: claimed sizes are checked against the file's size before anything is allocated, and
// external storage, external links and virtual data sets are refused.
// The HDF5 library is not thread-safe. An internal lock lets any number of threads work on separate files.
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

// Chunk layout of an array.
struct ChunkInfo {
    index_t rows = 0;       // per chunk; 0: not chunked
    index_t bytes = 0;      // per chunk, uncompressed
    index_t row_bytes = 0;  // per row
    bool packed = false;    // compressed or filtered: chunks are read whole
    // Uncompressed data read per row, in rows.
    index_t rows_unpacked = 1;
};

// "[50000, 32, 32, 3]"
std::string shape_text(const std::vector<index_t>& shape);

// Functions throw InputError if a file being read is wrong (the message names file, object, what was expected
// and what was found) and Error if reading or writing fails: a disk or network may answer again later. T is
// std::uint8_t, std::int32_t, float or double and must be the type in the file (either byte order); there is no
// silent conversion.
class Hdf5File {
  public:
    // Opens for reading. Throws InputError if the file is missing, a folder, not HDF5, truncated, or damaged
    // so that HDF5 itself crashes or loops (hdf5_probe.h). If `path` is a link that another process replaces
    // meanwhile, one of its targets is opened.
    static Hdf5File open(const std::filesystem::path& path);
    // Reads the structure of any file, as readers do, without its elements. For glow_hdf5_probe: HDF5 may
    // crash.
    static void read_structure(const std::filesystem::path& path);
    // Creates or overwrites; combine with AtomicFile. `shown` is the final name, used in error messages.
    static Hdf5File create(const std::filesystem::path& path, const std::filesystem::path& shown = {});

    ~Hdf5File();
    Hdf5File(Hdf5File&& other) noexcept;
    Hdf5File& operator=(Hdf5File&& other) noexcept;

    // Flushes and closes; throws Error if the disk is full. Written files must be closed this way: the
    // destructor ignores errors.
    void close();

    const std::filesystem::path& path() const { return shown_; }

    // Whether an array or group of this name ("/train/images") exists.
    bool exists(const std::string& name) const;
    // Full names of all arrays below the group at any depth, sorted: {"/params/...", ...}. Empty if the group
    // does not exist.
    std::vector<std::string> arrays(const std::string& group = "/") const;
    // Type and shape of an array. The number of elements is at most what the file can hold.
    ArrayInfo describe(const std::string& name) const;
    // The same, of an array whose elements must be T.
    template <class T>
    ArrayInfo describe_as(const std::string& name) const;
    ChunkInfo chunks(const std::string& name) const;

    // Reads the whole array, which must have this shape.
    template <class T>
    void read(const std::string& name, const std::vector<index_t>& shape, T* values) const;
    template <class T>
    std::vector<T> read(const std::string& name, const std::vector<index_t>& shape) const;
    // Reads rows first .. first + count - 1 along the first axis. Rank must be at least 1.
    template <class T>
    void read_rows(const std::string& name, index_t first, index_t count, T* values) const;
    // Reads rows of a uint8 array by number: rows[i] -> values [count, row elements]. Opens and checks the
    // array once, which is many times faster than read_rows() for files with many chunks. Fastest in
    // increasing order.
    void read_scattered_rows(const std::string& name, const index_t* rows, index_t count,
                             std::uint8_t* values) const;

    // Creates an array of fixed shape, with missing parent groups.
    template <class T>
    void write(const std::string& name, const std::vector<index_t>& shape, const T* values);
    // Creates an array [0, row_shape...] that append() extends by `rows` rows.
    template <class T>
    void create_growing(const std::string& name, const std::vector<index_t>& row_shape);
    template <class T>
    void append(const std::string& name, index_t rows, const T* values);

    // An array [N] of strings, written in UTF-8 and padded to the longest. Reads strings of variable length
    // too.
    void write_strings(const std::string& name, const std::vector<std::string>& strings);
    std::vector<std::string> read_strings(const std::string& name) const;

    // Attributes of an array or group ("/" is the root). Reads strings of fixed or variable length, integers
    // of any type that fits, and numbers of any floating or integer type.
    bool has_attribute(const std::string& object, const std::string& name) const;
    std::string string_attribute(const std::string& object, const std::string& name) const;
    std::int64_t integer_attribute(const std::string& object, const std::string& name) const;
    double number_attribute(const std::string& object, const std::string& name) const;
    // Sets an attribute, replacing an existing one. Strings are written as variable-length UTF-8.
    void set_string(const std::string& object, const std::string& name, const std::string& value);
    void set_integer(const std::string& object, const std::string& name, std::int64_t value);
    void set_number(const std::string& object, const std::string& name, double value);

    // "1.10.8"
    static std::string library_version();

  private:
    Hdf5File(std::int64_t id, std::filesystem::path shown, index_t bytes);
    // Call after writing an object, with whether HDF5 reported success, and why not if another call followed.
    // Throws Error if the object is not in the file.
    void require_written(bool done, const std::string& object, const std::string& problem = "") const;
    // shown: the file's name in messages.
    static Hdf5File open_unchecked(const std::filesystem::path& file, const std::filesystem::path& shown);
    static void refuse_if_hdf5_crashes(const std::filesystem::path& file, const std::filesystem::path& shown);

    void close_quietly() noexcept;

    struct SavedArray;
    std::int64_t id_;                           // hid_t; -1 when closed
    mutable std::unique_ptr<SavedArray> kept_;  // for read_scattered_rows()
    std::filesystem::path shown_;
    index_t bytes_;  // file size when reading, -1 when writing
    // When writing, errno of the first failure, or 0; HDF5 has its address.
    std::unique_ptr<int> write_error_;
};

}  // namespace glow
