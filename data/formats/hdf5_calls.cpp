#include "data/formats/hdf5_calls.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "data/formats/hdf5_writer.h"
#include "kernels/error.h"

namespace glow::hdf5 {

// fork() waits until no thread uses HDF5: in the child, neither this mutex nor those of HDF5 itself would ever
// be unlocked.
std::mutex& library() {
    static std::mutex mutex;
    static const int failed =
        pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
    static_cast<void>(failed);  // no memory: a child may wait forever
    return mutex;
}

int& read_error() {
    static int error = 0;
    return error;
}

std::string reason() {
    std::string text;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
            try {
                if (error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
            } catch (...) {
                return -1;
            }
            return 1;  // innermost entry only
        },
        &text);
    // A failed write also lists time, addresses and sizes; the system's error text is enough.
    const std::string mark = "error message = '";
    if (const std::size_t at = text.find(mark); at != std::string::npos) {
        const std::size_t begin = at + mark.size();
        text = text.substr(begin, text.find('\'', begin) - begin);
    }
    return text.empty() ? "HDF5 gave no reason" : text;
}

void silence() {
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

void require_read(const std::filesystem::path& file, const std::string& object) {
    if (read_error() != 0)
        throw Error(fmt::format("{}: {}: cannot be read: {}", file.string(), object,
                                std::generic_category().message(read_error())));
}

[[noreturn]] void bad_input(const std::filesystem::path& file, const std::string& object,
                            const std::string& what) {
    require_read(file, object);
    throw InputError(fmt::format("{}: {}: {}", file.string(), object, what));
}

void require_not_shorter(hid_t file, const std::filesystem::path& shown, index_t bytes,
                         const std::string& object) {
    void* descriptor = nullptr;
    struct stat status {};
    errno = 0;  // HDF5 may leave it as it is
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) < 0 ||
        fstat(*static_cast<int*>(descriptor), &status) != 0)
        read_error() = errno != 0 ? errno : EIO;
    require_read(shown, object);
    if (status.st_size < bytes)
        bad_input(shown, object, "cannot be read: the file became shorter while it was open");
}

Handle file_access(int* error) {
    Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    use_driver(access, error);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7) || \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE >= 1) || \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR > 12)
    H5Pset_file_locking(access, 0, 1);
#endif
    return access;
}

Handle link_access() {
    Handle access(H5Pcreate(H5P_LINK_ACCESS), H5Pclose);
    H5Pset_elink_cb(
        access,
        [](const char*, const char*, const char*, const char*, unsigned*, hid_t, void*) -> herr_t {
            return -1;
        },
        nullptr);
    return access;
}

Handle parents_made() {
    Handle create(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(create, 1);
    H5Pset_char_encoding(create, H5T_CSET_UTF8);
    return create;
}

Handle array_creation() {
    Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(create, 0);  // the same content gives the same bytes
    return create;
}

const char* type_name(ElementType type) {
    switch (type) {
        case ElementType::uint8:
            return "uint8";
        case ElementType::int32:
            return "int32";
        case ElementType::float32:
            return "float32";
        case ElementType::float64:
            return "float64";
        case ElementType::other:
            break;
    }
    return "another type";
}

ElementType classify(hid_t type) {
    const auto is = [type](hid_t little, hid_t big) {
        return H5Tequal(type, little) > 0 || H5Tequal(type, big) > 0;
    };
    if (is(H5T_STD_U8LE, H5T_STD_U8BE)) return ElementType::uint8;
    if (is(H5T_STD_I32LE, H5T_STD_I32BE)) return ElementType::int32;
    if (is(H5T_IEEE_F32LE, H5T_IEEE_F32BE)) return ElementType::float32;
    if (is(H5T_IEEE_F64LE, H5T_IEEE_F64BE)) return ElementType::float64;
    return ElementType::other;
}

std::string describe_type(hid_t type) {
    const ElementType known = classify(type);
    if (known != ElementType::other) return type_name(known);
    const std::size_t bits = 8 * H5Tget_size(type);
    switch (H5Tget_class(type)) {
        case H5T_INTEGER:
            return fmt::format("{}int{}", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
        case H5T_FLOAT:
            return fmt::format("float{}", bits);
        case H5T_STRING:
            return "a string";
        case H5T_COMPOUND:
            return "a compound";
        case H5T_ENUM:
            return "an enumeration";
        default:
            return "another type";
    }
}

std::vector<hsize_t> sizes_of(const std::vector<index_t>& shape) {
    return {shape.begin(), shape.end()};
}

void select_rows(hid_t space, const std::vector<index_t>& shape, index_t first, index_t count) {
    std::vector<hsize_t> start(shape.size(), 0), extent = sizes_of(shape);
    start[0] = static_cast<hsize_t>(first);
    extent[0] = static_cast<hsize_t>(count);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
}

Handle rows_space(std::vector<index_t> shape, index_t count) {
    shape[0] = count;
    return Handle(H5Screate_simple(static_cast<int>(shape.size()), sizes_of(shape).data(), nullptr),
                  H5Sclose);
}

}  // namespace glow::hdf5
