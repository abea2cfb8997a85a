// Shared by hdf5_*.cpp only: RAII handles, property lists and element types of the HDF5 C interface, and its
// error stack as text for our messages.
#pragma once

#include <hdf5.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "data/formats/hdf5_file.h"

static_assert(sizeof(hid_t) == sizeof(std::int64_t), "HDF5 1.10 or newer");

namespace glow::hdf5 {

std::mutex& library();
// errno of the first failed read of a file, or of a failure to open one that may be transient, since library()
// was locked; 0 if none. HDF5 itself takes some objects that it cannot read for absent or empty.
int& read_error();
// Held by every public function: HDF5 is for one thread at a time.
class Lock {
  public:
    explicit Lock(std::mutex& mutex) : lock_(mutex) { read_error() = 0; }

  private:
    std::lock_guard<std::mutex> lock_;
};

class Handle {
  public:
    Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
    ~Handle() {
        if (id_ >= 0) close_(id_);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

    // Returns false if HDF5 reports an error. HDF5 may write an array's elements only now: whoever writes must
    // call this, as the destructor cannot report that they were lost.
    [[nodiscard]] bool close() { return id_ < 0 || close_(std::exchange(id_, -1)) >= 0; }

    operator hid_t() const { return id_; }
    bool bad() const { return id_ < 0; }

  private:
    hid_t id_;
    herr_t (*close_)(hid_t);
};

// The innermost entry of HDF5's error stack: why the last call failed.
std::string reason();
// Turns off HDF5's printing, and its cleanup at exit, which would retry failed writes and complain.
void silence();

// Throws Error if a read has failed: call where HDF5 reports that something is absent.
void require_read(const std::filesystem::path& file, const std::string& object);
// Throws InputError about an object in a file, or Error if a read has failed: the file may be as it should be.
[[noreturn]] void bad_input(const std::filesystem::path& file, const std::string& object,
                            const std::string& what);
// Call after every read, with the file's size when it was opened: HDF5 returns zeros beyond the end of a file,
// and a file may shrink while it is open. Throws as bad_input().
void require_not_shorter(hid_t file, const std::filesystem::path& shown, index_t bytes,
                         const std::string& object);

// ---- Property lists ------------------------------------------------------------------------------

// Files are opened without HDF5 locks: writers rename complete files into place, and many cluster file
// systems have no locks.
Handle file_access(int* error);  // *error: see hdf5_writer.h
Handle link_access();            // follows links within the file only
Handle parents_made();           // creates missing parent groups
Handle array_creation();         // same content, same bytes

// ---- Element types -------------------------------------------------------------------------------

template <class T>
hid_t native();
template <>
inline hid_t native<std::uint8_t>() {
    return H5T_NATIVE_UINT8;
}
template <>
inline hid_t native<std::int32_t>() {
    return H5T_NATIVE_INT32;
}
template <>
inline hid_t native<float>() {
    return H5T_NATIVE_FLOAT;
}
template <>
inline hid_t native<double>() {
    return H5T_NATIVE_DOUBLE;
}

template <class T>
constexpr ElementType element_type();
template <>
constexpr ElementType element_type<std::uint8_t>() {
    return ElementType::uint8;
}
template <>
constexpr ElementType element_type<std::int32_t>() {
    return ElementType::int32;
}
template <>
constexpr ElementType element_type<float>() {
    return ElementType::float32;
}
template <>
constexpr ElementType element_type<double>() {
    return ElementType::float64;
}

const char* type_name(ElementType type);
ElementType classify(hid_t type);
// Type names for messages: "int64", "a string".
std::string describe_type(hid_t type);

// ---- Data spaces ---------------------------------------------------------------------------------

std::vector<hsize_t> sizes_of(const std::vector<index_t>& shape);
// Selects rows first .. first + count - 1 of a space of this shape.
void select_rows(hid_t space, const std::vector<index_t>& shape, index_t first, index_t count);
// A data space of `count` rows of an array of this shape.
Handle rows_space(std::vector<index_t> shape, index_t count);

}  // namespace glow::hdf5
