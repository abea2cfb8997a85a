// Arrays are checked before they are read (hdf5_objects.h). Attributes are in hdf5_attributes.cpp.
#include "data/formats/hdf5_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "data/formats/hdf5_objects.h"
#include "data/formats/input_path.h"
#include "kernels/error.h"

namespace glow {

using namespace hdf5;

namespace {

constexpr index_t kAppendBytes = 65536;  // chunk size of arrays that grow
constexpr int kOpenAttempts = 20;        // while a link changes

// The file itself, if the path leads to one through links.
std::filesystem::path without_links(const std::filesystem::path& path) {
    std::error_code code;
    auto target = std::filesystem::canonical(path, code);
    return code ? path : target;
}

// Reads a whole array of a given shape into memory(elements), called after all checks.
template <class T, class Memory>
void read_whole(hid_t file, const std::filesystem::path& shown, index_t bytes, const std::string& name,
                const std::vector<index_t>& shape, const Memory& memory) {
    const OpenArray array = open_array_of<T>(file, shown, bytes, name);
    if (array.info.shape != shape)
        bad_input(
            shown, name,
            fmt::format("expected shape {}, found {}", shape_text(shape), shape_text(array.info.shape)));
    T* values = memory(array.info.elements);
    if (array.info.elements > 0 &&
        H5Dread(array.array, native<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        bad_input(shown, name, "cannot be read: " + reason());
    require_not_shorter(file, shown, bytes, name);
}

}  // namespace

std::string shape_text(const std::vector<index_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

// An array kept open, with its data spaces.
struct Hdf5File::SavedArray {
    std::string name;
    OpenArray array;
    Handle file_space, row_space;
    index_t row_bytes;
};

Hdf5File::Hdf5File(std::int64_t id, std::filesystem::path shown, index_t bytes)
    : id_(id), shown_(std::move(shown)), bytes_(bytes) {}

void Hdf5File::close_quietly() noexcept {
    kept_.reset();
    if (id_ >= 0) H5Fclose(std::exchange(id_, -1));
}

Hdf5File::~Hdf5File() {
    const Lock lock(library());
    close_quietly();
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : id_(std::exchange(other.id_, -1)),
      kept_(std::move(other.kept_)),
      shown_(std::move(other.shown_)),
      bytes_(other.bytes_),
      write_error_(std::move(other.write_error_)) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(kept_, other.kept_);
    std::swap(shown_, other.shown_);
    std::swap(bytes_, other.bytes_);
    std::swap(write_error_, other.write_error_);
    return *this;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
    // While the file is opened, a link such as a run's latest.h5 may be replaced and its old target deleted.
    // If the link has changed, try again.
    for (int attempt = 1;; ++attempt) {
        const std::filesystem::path file = without_links(path);
        try {
            refuse_if_hdf5_crashes(file, path);
            return open_unchecked(file, path);
        } catch (const Error&) {
            if (attempt == kOpenAttempts || without_links(path) == file) throw;
        }
    }
}

Hdf5File Hdf5File::open_unchecked(const std::filesystem::path& file, const std::filesystem::path& shown) {
    const Lock lock(library());
    silence();
    if (shown.empty())
        throw InputError(
            "expected the name of an HDF5 file, found an empty one: is a variable on the command line not set?");
    std::error_code code;
    const auto status = std::filesystem::status(file, code);
    if (!std::filesystem::exists(status)) {
        if (!is_missing_or_forbidden(code.value()))
            throw Error(fmt::format("cannot open {}: {}", shown.string(), code.message()));
        throw InputError(fmt::format("cannot open {}: {}", shown.string(), file_problem(file)));
    }
    if (!std::filesystem::is_regular_file(status))
        throw InputError(
            fmt::format("cannot open {}: expected an HDF5 file, found {}", shown.string(),
                        std::filesystem::is_directory(status) ? "a folder" : "a device or pipe"));
    const auto bytes = static_cast<index_t>(std::filesystem::file_size(file, code));
    if (code) throw Error(fmt::format("cannot open {}: {}", shown.string(), code.message()));
    const Handle access = file_access(&read_error());
    const hid_t id = H5Fopen(file.c_str(), H5F_ACC_RDONLY, access);
    if (id < 0) {
        const std::string why = reason();
        if (read_error() != 0)
            throw Error(fmt::format("cannot open {}: {}", shown.string(),
                                    std::generic_category().message(read_error())));
        if (why.find("stat info") != std::string::npos)  // by HDF5 itself, after the driver opened the file
            throw Error(fmt::format("cannot open {}: {}", shown.string(), why));
        if (why.find("signature not found") != std::string::npos)
            throw InputError(
                fmt::format("cannot open {}: it is not an HDF5 file (glow_data makes data sets, "
                            "glow_train checkpoints)",
                            shown.string()));
        throw InputError(fmt::format("cannot open {} as an HDF5 file: {}", shown.string(), why));
    }
    return Hdf5File(id, shown, bytes);
}

Hdf5File Hdf5File::create(const std::filesystem::path& path, const std::filesystem::path& shown) {
    Hdf5File file(-1, shown.empty() ? path : shown, -1);  // before the lock, which its destructor takes too
    file.write_error_ = std::make_unique<int>(0);
    const Lock lock(library());
    silence();
    const Handle access = file_access(file.write_error_.get());
    file.id_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (file.id_ < 0) throw Error(fmt::format("cannot create {}: {}", file.shown_.string(), reason()));
    return file;
}

void Hdf5File::close() {
    const Lock lock(library());
    if (id_ < 0) return;
    kept_.reset();
    const bool closed = H5Fclose(std::exchange(id_, -1)) >= 0;
    if (write_error_ && *write_error_ != 0)
        throw Error(fmt::format("cannot write {}: {}", shown_.string(), std::strerror(*write_error_)));
    if (!closed) throw Error(fmt::format("cannot write {}: {}", shown_.string(), reason()));
}

void Hdf5File::require_written(bool done, const std::string& object, const std::string& problem) const {
    if (write_error_ && *write_error_ != 0)
        throw Error(
            fmt::format("cannot write {} to {}: {}", object, shown_.string(), std::strerror(*write_error_)));
    if (!done)
        throw Error(fmt::format("cannot write {} to {}: {}", object, shown_.string(),
                                problem.empty() ? reason() : problem));
}

bool Hdf5File::exists(const std::string& name) const {
    const Lock lock(library());
    return find(id_, shown_, name);
}

std::vector<std::string> Hdf5File::arrays(const std::string& group) const {
    const Lock lock(library());
    std::vector<std::string> found;
    if (!find(id_, shown_, group)) return found;
    const Handle root = open_object(id_, shown_, group);
    if (H5Iget_type(root) != H5I_GROUP) bad_input(shown_, group, "expected a group, found an array");
    std::string prefix = group;
    while (!prefix.empty() && prefix.back() == '/') prefix.pop_back();
    list_arrays(root, shown_, prefix, found);
    std::sort(found.begin(), found.end());
    return found;
}

ArrayInfo Hdf5File::describe(const std::string& name) const {
    const Lock lock(library());
    return open_array(id_, shown_, bytes_, name).info;
}

template <class T>
ArrayInfo Hdf5File::describe_as(const std::string& name) const {
    const Lock lock(library());
    return open_array_of<T>(id_, shown_, bytes_, name).info;
}

ChunkInfo Hdf5File::chunks(const std::string& name) const {
    const Lock lock(library());
    const OpenArray array = open_array(id_, shown_, bytes_, name);
    const auto& shape = array.info.shape;
    const Handle create(H5Dget_create_plist(array.array), H5Pclose), type(H5Dget_type(array.array), H5Tclose);
    hsize_t chunk[H5S_MAX_RANK] = {};
    ChunkInfo info;
    if (shape.empty() || array.info.elements == 0) return info;
    info.row_bytes = array.info.elements / shape[0] * static_cast<index_t>(H5Tget_size(type));
    if (H5Pget_layout(create) != H5D_CHUNKED || H5Pget_chunk(create, H5S_MAX_RANK, chunk) < 0) return info;
    info.rows = std::min(static_cast<index_t>(chunk[0]), shape[0]);
    info.bytes = static_cast<index_t>(H5Tget_size(type));
    index_t touched = 1;  // chunks that one row touches
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        const auto side = static_cast<index_t>(chunk[axis]);
        info.bytes *= side;  // cannot overflow: open_array() checked it against the file's size
        if (axis > 0) touched *= (shape[axis] + side - 1) / side;
    }
    info.packed = H5Pget_nfilters(create) > 0;
    if (info.packed) info.rows_unpacked = std::max<index_t>(1, info.bytes * touched / info.row_bytes);
    return info;
}

template <class T>
void Hdf5File::read(const std::string& name, const std::vector<index_t>& shape, T* values) const {
    const Lock lock(library());
    read_whole<T>(id_, shown_, bytes_, name, shape, [values](index_t) { return values; });
}

template <class T>
std::vector<T> Hdf5File::read(const std::string& name, const std::vector<index_t>& shape) const {
    const Lock lock(library());
    std::vector<T> values;
    read_whole<T>(id_, shown_, bytes_, name, shape, [&values](index_t elements) {
        values.resize(static_cast<std::size_t>(elements));
        return values.data();
    });
    return values;
}

template <class T>
void Hdf5File::read_rows(const std::string& name, index_t first, index_t count, T* values) const {
    const Lock lock(library());
    const OpenArray array = open_array_of<T>(id_, shown_, bytes_, name);
    const auto& shape = array.info.shape;
    if (shape.empty() || first < 0 || count < 0 || first > shape[0] - count)
        bad_input(shown_, name,
                  fmt::format("expected rows {} to {}, found shape {}", first, first + count - 1,
                              shape_text(shape)));
    if (count == 0 || array.info.elements == 0) return;
    const Handle file_space(H5Dget_space(array.array), H5Sclose), memory_space = rows_space(shape, count);
    select_rows(file_space, shape, first, count);
    if (H5Dread(array.array, native<T>(), memory_space, file_space, H5P_DEFAULT, values) < 0)
        bad_input(shown_, name, "cannot be read: " + reason());
    require_not_shorter(id_, shown_, bytes_, name);
}

void Hdf5File::read_scattered_rows(const std::string& name, const index_t* rows, index_t count,
                                   std::uint8_t* values) const {
    const Lock lock(library());
    if (!kept_ || kept_->name != name) {
        kept_.reset();
        OpenArray array = open_array_of<std::uint8_t>(id_, shown_, bytes_, name);
        const std::vector<index_t>& shape = array.info.shape;
        if (shape.empty() || array.info.elements == 0) bad_input(shown_, name, "has no rows");
        Handle file_space(H5Dget_space(array.array), H5Sclose), row_space = rows_space(shape, 1);
        const index_t row_bytes = array.info.elements / shape[0];
        kept_.reset(
            new SavedArray{name, std::move(array), std::move(file_space), std::move(row_space), row_bytes});
    }
    const auto& shape = kept_->array.info.shape;
    for (index_t i = 0, run = 1; i < count; i += run) {
        if (rows[i] < 0 || rows[i] >= shape[0])
            bad_input(shown_, name, fmt::format("expected a row in 0..{}, found {}", shape[0] - 1, rows[i]));
        // Read consecutive rows at once, so that a compressed chunk is unpacked once.
        run = 1;
        while (i + run < count && rows[i + run] == rows[i] + run && rows[i + run] < shape[0]) ++run;
        select_rows(kept_->file_space, shape, rows[i], run);
        const Handle several = run > 1 ? rows_space(shape, run) : Handle(-1, H5Sclose);
        if (H5Dread(kept_->array.array, H5T_NATIVE_UINT8, run > 1 ? several : kept_->row_space,
                    kept_->file_space, H5P_DEFAULT, values + i * kept_->row_bytes) < 0)
            bad_input(shown_, name, "cannot be read: " + reason());
    }
    require_not_shorter(id_, shown_, bytes_, name);
}

template <class T>
void Hdf5File::write(const std::string& name, const std::vector<index_t>& shape, const T* values) {
    const Lock lock(library());
    const Handle space(H5Screate_simple(static_cast<int>(shape.size()), sizes_of(shape).data(), nullptr),
                       H5Sclose);
    const Handle create = array_creation(), parents = parents_made();
    Handle array(H5Dcreate2(id_, name.c_str(), native<T>(), space, parents, create, H5P_DEFAULT), H5Dclose);
    require_written(!array.bad(), name);
    if (H5Sget_simple_extent_npoints(space) > 0)
        require_written(H5Dwrite(array, native<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0, name);
    require_written(array.close(), name);
}

template <class T>
void Hdf5File::create_growing(const std::string& name, const std::vector<index_t>& row_shape) {
    const Lock lock(library());
    std::vector<hsize_t> sizes{0}, most{H5S_UNLIMITED}, chunk{1};
    index_t row_bytes = sizeof(T);
    for (const index_t size : row_shape) {
        sizes.push_back(static_cast<hsize_t>(size));
        row_bytes *= size;
    }
    most.insert(most.end(), sizes.begin() + 1, sizes.end());
    chunk.insert(chunk.end(), sizes.begin() + 1, sizes.end());
    chunk[0] = static_cast<hsize_t>(std::max<index_t>(1, kAppendBytes / std::max<index_t>(1, row_bytes)));
    const Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), most.data()), H5Sclose);
    const Handle create = array_creation(), parents = parents_made();
    H5Pset_chunk(create, static_cast<int>(chunk.size()), chunk.data());
    Handle array(H5Dcreate2(id_, name.c_str(), native<T>(), space, parents, create, H5P_DEFAULT), H5Dclose);
    require_written(!array.bad() && array.close(), name);
}

template <class T>
void Hdf5File::append(const std::string& name, index_t rows, const T* values) {
    const Lock lock(library());
    if (rows == 0) return;
    OpenArray array = open_array_of<T>(id_, shown_, bytes_, name);
    std::vector<index_t> shape = array.info.shape;
    const index_t first = shape.at(0);
    shape[0] += rows;
    require_written(H5Dset_extent(array.array, sizes_of(shape).data()) >= 0, name);
    const Handle file_space(H5Dget_space(array.array), H5Sclose), memory_space = rows_space(shape, rows);
    select_rows(file_space, shape, first, rows);
    require_written(H5Dwrite(array.array, native<T>(), memory_space, file_space, H5P_DEFAULT, values) >= 0 &&
                        array.array.close(),
                    name);
}

std::string Hdf5File::library_version() {
    const Lock lock(library());
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    return fmt::format("{}.{}.{}", major, minor, release);
}

#define GLOW_ELEMENT(T)                                                                               \
    template ArrayInfo Hdf5File::describe_as<T>(const std::string&) const;                            \
    template void Hdf5File::read<T>(const std::string&, const std::vector<index_t>&, T*) const;       \
    template std::vector<T> Hdf5File::read<T>(const std::string&, const std::vector<index_t>&) const; \
    template void Hdf5File::read_rows<T>(const std::string&, index_t, index_t, T*) const;             \
    template void Hdf5File::write<T>(const std::string&, const std::vector<index_t>&, const T*);      \
    template void Hdf5File::create_growing<T>(const std::string&, const std::vector<index_t>&);       \
    template void Hdf5File::append<T>(const std::string&, index_t, const T*);
GLOW_ELEMENT(std::uint8_t)
GLOW_ELEMENT(std::int32_t)
GLOW_ELEMENT(float)
GLOW_ELEMENT(double)
#undef GLOW_ELEMENT

}  // namespace glow
