// The HDF5 C interface behind RAII handles. Every name is looked up link by link, every array is checked
// against the file's size before it is read (open_array), and HDF5's own error stack becomes the reason in
// our messages.
#include "train/data/hdf5_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

#include "kernels/error.h"

static_assert(sizeof(hid_t) == sizeof(std::int64_t), "HDF5 1.10 or newer");

namespace glow {
namespace {

constexpr int kDeepestGroup = 64;                  // levels of groups, against cycles of links
constexpr std::size_t kMostLinks = 300000;         // links that a listing looks at
constexpr index_t kLargestRatio = 1040;            // of deflate, which cannot shrink to less than 1/1032
constexpr rlim_t kProbeSeconds = 6;                // of processor time, in refuse_if_deadly
constexpr index_t kProbeBytes = index_t{1} << 29;  // of memory
constexpr int kTooMuchMemory = 3;                  // exit code of the child
constexpr index_t kAppendBytes = 65536;            // chunk of an array that grows

// Held in every public function, and while a child is made. Not recursive: glibc's recursive one remembers
// its owner's number, which is another one in a child.
std::mutex& library() {
    static std::mutex mutex;
    return mutex;
}
using Lock = std::lock_guard<std::mutex>;

class Handle {
  public:
    Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
    ~Handle() {
        if (id_ >= 0) close_(id_);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

    operator hid_t() const { return id_; }
    bool bad() const { return id_ < 0; }

  private:
    hid_t id_;
    herr_t (*close_)(hid_t);
};

// The innermost entry of HDF5's error stack: why the last call failed.
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
            return 1;  // the first one only
        },
        &text);
    return text.empty() ? "HDF5 does not say why" : text;
}

// No printing by HDF5, and no cleaning up at exit: after a failed write it would try again and complain.
void silence() {
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

// Files are opened without locks: they are written under another name and renamed, so none is read
// half-written, and many cluster file systems have no locks.
Handle file_access() {
    Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_fapl_sec2(access);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7) || \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE >= 1) || \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR > 12)
    H5Pset_file_locking(access, 0, 1);
#endif
    return access;
}

// Links are followed within the file only.
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

template <class T>
hid_t native();
template <>
hid_t native<std::uint8_t>() {
    return H5T_NATIVE_UINT8;
}
template <>
hid_t native<std::int32_t>() {
    return H5T_NATIVE_INT32;
}
template <>
hid_t native<float>() {
    return H5T_NATIVE_FLOAT;
}
template <>
hid_t native<double>() {
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

// "int64", "a string": what came instead, for messages.
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

[[noreturn]] void bad_input(const std::filesystem::path& file, const std::string& object,
                            const std::string& what) {
    throw InputError(fmt::format("{}: {}: {}", file.string(), object, what));
}

[[noreturn]] void bad_write(const std::filesystem::path& file, const std::string& object) {
    throw Error(fmt::format("cannot write {} to {}: {}", object, file.string(), reason()));
}

// Does the object exist, reached by links within the file? Throws where a link leads out of it.
bool find(hid_t file, const std::filesystem::path& shown, const std::string& name) {
    const Handle access = link_access();
    std::size_t end = 0;
    while (end < name.size()) {
        const std::size_t begin = name.find_first_not_of('/', end);
        if (begin == std::string::npos) break;  // the root, or trailing slashes
        end = std::min(name.find('/', begin), name.size());
        const std::string prefix = name.substr(0, end);
        if (H5Lexists(file, prefix.c_str(), access) <= 0) return false;
        H5L_info_t info;
        if (H5Lget_info(file, prefix.c_str(), &info, access) < 0) bad_input(shown, prefix, reason());
        if (info.type != H5L_TYPE_HARD && info.type != H5L_TYPE_SOFT)
            bad_input(shown, prefix, "is a link to another file, which is refused");
        const htri_t there = H5Oexists_by_name(file, prefix.c_str(), access);
        if (there < 0)
            bad_input(shown, prefix, "is a link that leads out of the file, or is damaged: " + reason());
        if (there == 0) return false;
    }
    return true;
}

Handle open_object(hid_t file, const std::filesystem::path& shown, const std::string& name) {
    const Handle access = link_access();
    Handle object(H5Oopen(file, name.c_str(), access), H5Oclose);
    if (object.bad()) {
        const std::string why = reason();
        if (!find(file, shown, name)) bad_input(shown, name, "is missing");
        bad_input(shown, name, "cannot be opened: " + why);
    }
    return object;
}

// The shape of a data space; throws for a null one, or one whose elements cannot be counted.
ArrayInfo shape_of(hid_t array, const std::filesystem::path& shown, const std::string& name) {
    const Handle space(H5Dget_space(array), H5Sclose);
    if (space.bad()) bad_input(shown, name, "has no shape: " + reason());
    if (H5Sget_simple_extent_type(space) == H5S_NULL) bad_input(shown, name, "is an empty (null) array");
    const int rank = H5Sget_simple_extent_ndims(space);
    if (rank < 0 || rank > H5S_MAX_RANK) bad_input(shown, name, "has no shape: " + reason());
    hsize_t sizes[H5S_MAX_RANK] = {};
    if (H5Sget_simple_extent_dims(space, sizes, nullptr) < 0)
        bad_input(shown, name, "has no shape: " + reason());
    ArrayInfo info{ElementType::other, {}, 1};
    constexpr hsize_t kMost = hsize_t{1} << 58;
    bool too_large = false, empty = false;
    for (int axis = 0; axis < rank; ++axis) {
        empty = empty || sizes[axis] == 0;
        if (sizes[axis] > kMost)
            bad_input(shown, name, fmt::format("claims {} elements along an axis", sizes[axis]));
        info.shape.push_back(static_cast<index_t>(sizes[axis]));
        unsigned __int128 product = static_cast<unsigned __int128>(info.elements) * sizes[axis];
        if (product > kMost) too_large = true;
        info.elements = too_large ? 1 : static_cast<index_t>(product);
    }
    if (empty) info.elements = 0;
    if (too_large && !empty)
        bad_input(shown, name, "claims more elements than can be: " + shape_text(info.shape));
    return info;
}

struct OpenArray {
    Handle array;
    ArrayInfo info;
    std::string type_text;
};

// Opens an array. For a file that is read (bytes >= 0), refuses what lies elsewhere, was never written, is
// compressed in ways that HDF5 itself does not know, or claims more than the file's bytes can hold.
OpenArray open_array(hid_t file, const std::filesystem::path& shown, index_t bytes, const std::string& name) {
    Handle array = open_object(file, shown, name);
    if (H5Iget_type(array) != H5I_DATASET)
        bad_input(shown, name, "expected an array, found a group or a type");
    const Handle create(H5Dget_create_plist(array), H5Pclose);
    if (create.bad()) bad_input(shown, name, "cannot be opened: " + reason());
    const H5D_layout_t layout = H5Pget_layout(create);
    if (layout == H5D_VIRTUAL)
        bad_input(shown, name, "is a virtual data set, which is refused: copy it into one file");
    if (H5Pget_external_count(create) != 0)
        bad_input(shown, name, "is stored in another file, which is refused");

    const Handle type(H5Dget_type(array), H5Tclose);
    if (type.bad()) bad_input(shown, name, "has no type: " + reason());
    ArrayInfo info = shape_of(array, shown, name);
    info.type = classify(type);
    std::string type_text = describe_type(type);
    OpenArray result{std::move(array), std::move(info), std::move(type_text)};
    if (bytes < 0 || result.info.elements == 0) return result;

    const int filters = H5Pget_nfilters(create);
    for (int i = 0; i < filters; ++i) {
        unsigned flags = 0, config = 0;
        std::size_t values = 0;
        const H5Z_filter_t filter =
            H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, &config);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            bad_input(shown, name,
                      fmt::format("is compressed by HDF5 filter {}: write it with gzip or without",
                                  static_cast<int>(filter)));
    }
    const auto element_bytes = static_cast<index_t>(H5Tget_size(type));
    const auto stored = static_cast<index_t>(H5Dget_storage_size(result.array));
    const index_t most = filters > 0 ? stored * kLargestRatio : stored;
    const auto claim = [&](__int128 claimed) {
        if (claimed > most || stored > bytes)
            bad_input(
                shown, name,
                fmt::format(
                    "claims {} of {}, but {} bytes of the file's {} belong to it: truncated, damaged or "
                    "never written",
                    shape_text(result.info.shape), result.type_text, stored, bytes));
    };
    claim(static_cast<__int128>(result.info.elements) * element_bytes);
    if (layout == H5D_CHUNKED) {
        hsize_t chunk[H5S_MAX_RANK] = {};
        if (H5Pget_chunk(create, H5S_MAX_RANK, chunk) < 0) bad_input(shown, name, "is damaged: " + reason());
        __int128 chunk_bytes = element_bytes;
        hsize_t expected = 1, written = 0;
        for (std::size_t axis = 0; axis < result.info.shape.size(); ++axis) {
            if (chunk[axis] == 0) bad_input(shown, name, "is damaged: a chunk is empty");
            chunk_bytes *= chunk[axis];
            claim(chunk_bytes);
            expected *= (static_cast<hsize_t>(result.info.shape[axis]) + chunk[axis] - 1) / chunk[axis];
        }
        const Handle space(H5Dget_space(result.array), H5Sclose);
        if (H5Dget_num_chunks(result.array, space, &written) < 0 || written < expected)
            bad_input(shown, name, fmt::format("{} of its {} chunks were written", written, expected));
    }
    return result;
}

template <class T>
OpenArray open_array_of(hid_t file, const std::filesystem::path& shown, index_t bytes,
                        const std::string& name) {
    OpenArray array = open_array(file, shown, bytes, name);
    if (array.info.type != element_type<T>())
        bad_input(shown, name,
                  fmt::format("expected {}, found {}", type_name(element_type<T>()), array.type_text));
    return array;
}

// Reads a whole array of a given shape to where `memory(elements)` says, asked once all is checked.
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
}

// An attribute with one value.
struct OpenAttribute {
    Handle attribute, type;
};
OpenAttribute open_attribute(hid_t file, const std::filesystem::path& shown, const std::string& object,
                             const std::string& name) {
    const Handle owner = open_object(file, shown, object);
    if (H5Aexists(owner, name.c_str()) <= 0)
        bad_input(shown, object, fmt::format("attribute {} is missing", name));
    Handle attribute(H5Aopen(owner, name.c_str(), H5P_DEFAULT), H5Aclose);
    if (attribute.bad()) bad_input(shown, object, fmt::format("attribute {}: {}", name, reason()));
    Handle type(H5Aget_type(attribute), H5Tclose);
    const Handle space(H5Aget_space(attribute), H5Sclose);
    if (type.bad() || space.bad()) bad_input(shown, object, fmt::format("attribute {}: {}", name, reason()));
    if (H5Sget_simple_extent_type(space) == H5S_NULL || H5Sget_simple_extent_npoints(space) != 1)
        bad_input(shown, object, fmt::format("attribute {}: expected one value", name));
    return {std::move(attribute), std::move(type)};
}

// Replaces an attribute by one value of a type.
void set_attribute(hid_t file, const std::filesystem::path& shown, const std::string& object,
                   const std::string& name, hid_t type, const void* value) {
    const Handle owner = open_object(file, shown, object);
    if (H5Aexists(owner, name.c_str()) > 0) H5Adelete(owner, name.c_str());
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (attribute.bad() || H5Awrite(attribute, type, value) < 0)
        bad_write(shown, fmt::format("attribute {} of {}", name, object));
}

std::vector<hsize_t> sizes_of(const std::vector<index_t>& shape) {
    return {shape.begin(), shape.end()};
}

// Selects rows first .. first + count - 1 of a space of this shape.
void select_rows(hid_t space, const std::vector<index_t>& shape, index_t first, index_t count) {
    std::vector<hsize_t> start(shape.size(), 0), extent = sizes_of(shape);
    start[0] = static_cast<hsize_t>(first);
    extent[0] = static_cast<hsize_t>(count);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
}

Handle array_creation() {
    Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(create, 0);  // the same content gives the same bytes
    return create;
}

struct Entry {
    std::string name;
    bool hard;  // not a symbolic or external link
};

// The links of a group, sorted by name. `complete` says whether all could be read.
std::vector<Entry> entries_of(hid_t group, bool& complete) {
    std::vector<Entry> entries;
    const herr_t visited = H5Literate(
        group, H5_INDEX_NAME, H5_ITER_INC, nullptr,
        [](hid_t, const char* name, const H5L_info_t* info, void* out) -> herr_t {
            try {
                auto& list = *static_cast<std::vector<Entry>*>(out);
                if (list.size() > kMostLinks) return -1;
                list.push_back({name, info->type == H5L_TYPE_HARD});
            } catch (...) {
                return -1;
            }
            return 0;
        },
        &entries);
    complete = visited >= 0;
    return entries;
}

void list(hid_t group, const std::filesystem::path& shown, const std::string& prefix, int depth,
          std::size_t& links, std::vector<std::string>& found) {
    if (depth > kDeepestGroup) bad_input(shown, prefix, "groups are nested too deep, or in a circle");
    bool complete = false;
    for (const Entry& entry : entries_of(group, complete)) {
        const std::string name = prefix + "/" + entry.name;
        if (++links > kMostLinks)
            bad_input(shown, name, fmt::format("the file has more than {} objects", kMostLinks));
        if (!entry.hard) bad_input(shown, name, "is a symbolic or external link, which is refused here");
        const Handle object(H5Oopen(group, entry.name.c_str(), H5P_DEFAULT), H5Oclose);
        if (object.bad()) bad_input(shown, name, "cannot be opened: " + reason());
        const H5I_type_t kind = H5Iget_type(object);
        if (kind == H5I_DATASET) found.push_back(name);
        if (kind == H5I_GROUP) list(object, shown, name, depth + 1, links, found);
    }
    if (!complete) bad_input(shown, prefix.empty() ? "/" : prefix, "cannot be listed: " + reason());
}

}  // namespace

std::string shape_text(const std::vector<index_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

// An array kept open, with its spaces.
struct Hdf5File::KeptArray {
    std::string name;
    OpenArray array;
    Handle file_space, memory_space;
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
      bytes_(other.bytes_) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(kept_, other.kept_);
    std::swap(shown_, other.shown_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

namespace {

// Does what readers do with an object and all below it, but for the elements, whatever is wrong with some of
// them.
void look_at_everything(const Hdf5File& file, hid_t object, const std::string& name, int depth,
                        std::size_t& links) {
    const auto attempt = [](auto look) {
        try {
            look();
        } catch (const InputError&) {
        }
    };
    std::vector<std::string> attributes;
    H5Aiterate2(
        object, H5_INDEX_NAME, H5_ITER_INC, nullptr,
        [](hid_t, const char* attribute, const H5A_info_t*, void* out) -> herr_t {
            static_cast<std::vector<std::string>*>(out)->push_back(attribute);
            return 0;
        },
        &attributes);
    for (const std::string& attribute : attributes) {
        attempt([&] { file.string_attribute(name, attribute); });
        attempt([&] { file.number_attribute(name, attribute); });
    }
    const H5I_type_t kind = H5Iget_type(object);
    if (kind == H5I_DATASET) attempt([&] { file.describe(name); });
    if (kind != H5I_GROUP || depth > kDeepestGroup) return;
    bool complete = false;
    for (const Entry& entry : entries_of(object, complete)) {
        if (++links > kMostLinks) return;
        if (!entry.hard) continue;
        const Handle inner(H5Oopen(object, entry.name.c_str(), H5P_DEFAULT), H5Oclose);
        if (!inner.bad())
            look_at_everything(file, inner, (depth == 0 ? "" : name) + "/" + entry.name, depth + 1, links);
    }
}

// The most memory this process ever had, in bytes.
index_t peak_memory() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return index_t{1024} * usage.ru_maxrss;
}

}  // namespace

// HDF5 itself crashes, loops or takes all memory on some damaged files (1.10.8: one in 400 of those with
// random bytes in their directory). So a child process looks at everything first; its fate, not its findings,
// is what counts. A child cannot be had where memory is short: the file is then taken as it is.
void Hdf5File::refuse_if_deadly(const std::filesystem::path& path) {
    library().lock();  // no other thread is within HDF5 when the child is copied
    const pid_t child = fork();
    library().unlock();
    if (child == 0) {
        const int nowhere = ::open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);  // nobody wants to read of its crash
        const rlimit no_core{0, 0}, cpu_seconds{kProbeSeconds, kProbeSeconds + 5};
        setrlimit(RLIMIT_CORE, &no_core);
        setrlimit(RLIMIT_CPU, &cpu_seconds);
        for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGXCPU}) std::signal(signal, SIG_DFL);
        try {
            const Hdf5File file = open_unchecked(path);
            const Handle root(H5Oopen(file.id_, "/", H5P_DEFAULT), H5Oclose);
            std::size_t links = 0;
            const index_t before = peak_memory();
            if (!root.bad()) look_at_everything(file, root, "/", 0, links);
            if (peak_memory() - before > kProbeBytes) _exit(kTooMuchMemory);
        } catch (...) {
            // The parent will find the same.
        }
        _exit(0);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return;
    }
    if (child <= 0) return;
    const auto damaged = [&](const char* what) {
        throw InputError(
            fmt::format("cannot open {} as an HDF5 file: it is damaged (HDF5 {})", path.string(), what));
    };
    if (WIFEXITED(status) && WEXITSTATUS(status) == kTooMuchMemory)
        damaged("asks for gigabytes to read its directory");
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) damaged("crashes on it");  // a sanitizer's exit
    if (!WIFSIGNALED(status)) return;
    const int signal = WTERMSIG(status);
    if (signal == SIGXCPU) damaged("does not end on it");
    // SIGKILL: out of memory.
    for (const int crash : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGKILL})
        if (signal == crash) damaged("crashes on it");
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
    refuse_if_deadly(path);
    return open_unchecked(path);
}

Hdf5File Hdf5File::open_unchecked(const std::filesystem::path& path) {
    const Lock lock(library());
    silence();
    std::error_code code;
    const auto status = std::filesystem::status(path, code);
    if (!std::filesystem::exists(status))
        throw InputError(fmt::format("cannot open {}: {}", path.string(),
                                     code ? code.message() : std::string(std::strerror(ENOENT))));
    if (!std::filesystem::is_regular_file(status))
        throw InputError(
            fmt::format("cannot open {}: expected an HDF5 file, found {}", path.string(),
                        std::filesystem::is_directory(status) ? "a folder" : "a device or pipe"));
    const auto bytes = static_cast<index_t>(std::filesystem::file_size(path, code));
    const Handle access = file_access();
    const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
    if (id < 0) throw InputError(fmt::format("cannot open {} as an HDF5 file: {}", path.string(), reason()));
    return Hdf5File(id, path, bytes);
}

Hdf5File Hdf5File::create(const std::filesystem::path& path, const std::filesystem::path& shown) {
    const Lock lock(library());
    silence();
    const Handle access = file_access();
    const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    const auto& name = shown.empty() ? path : shown;
    if (id < 0) throw Error(fmt::format("cannot create {}: {}", name.string(), reason()));
    return Hdf5File(id, name, -1);
}

void Hdf5File::close() {
    const Lock lock(library());
    if (id_ < 0) return;
    kept_.reset();
    const hid_t id = std::exchange(id_, -1);
    if (H5Fflush(id, H5F_SCOPE_LOCAL) < 0) {
        const std::string why = reason();
        H5Fclose(id);
        throw Error(fmt::format("cannot write {}: {}", shown_.string(), why));
    }
    if (H5Fclose(id) < 0) throw Error(fmt::format("cannot write {}: {}", shown_.string(), reason()));
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
    std::size_t links = 0;
    std::string prefix = group;
    while (!prefix.empty() && prefix.back() == '/') prefix.pop_back();
    list(root, shown_, prefix, 0, links, found);
    std::sort(found.begin(), found.end());
    return found;
}

ArrayInfo Hdf5File::describe(const std::string& name) const {
    const Lock lock(library());
    return open_array(id_, shown_, bytes_, name).info;
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
    std::vector<index_t> rows = shape;
    rows[0] = count;
    const Handle file_space(H5Dget_space(array.array), H5Sclose);
    select_rows(file_space, shape, first, count);
    const Handle memory_space(H5Screate_simple(static_cast<int>(rows.size()), sizes_of(rows).data(), nullptr),
                              H5Sclose);
    if (H5Dread(array.array, native<T>(), memory_space, file_space, H5P_DEFAULT, values) < 0)
        bad_input(shown_, name, "cannot be read: " + reason());
}

void Hdf5File::read_scattered_rows(const std::string& name, const index_t* rows, index_t count,
                                   std::uint8_t* values) const {
    const Lock lock(library());
    if (!kept_ || kept_->name != name) {
        kept_.reset();
        OpenArray array = open_array_of<std::uint8_t>(id_, shown_, bytes_, name);
        std::vector<index_t> row = array.info.shape;
        if (row.empty() || array.info.elements == 0) bad_input(shown_, name, "has no rows");
        row[0] = 1;
        Handle file_space(H5Dget_space(array.array), H5Sclose);
        Handle memory_space(H5Screate_simple(static_cast<int>(row.size()), sizes_of(row).data(), nullptr),
                            H5Sclose);
        const index_t row_bytes = array.info.elements / array.info.shape[0];
        kept_.reset(
            new KeptArray{name, std::move(array), std::move(file_space), std::move(memory_space), row_bytes});
    }
    const auto& shape = kept_->array.info.shape;
    for (index_t i = 0; i < count; ++i) {
        if (rows[i] < 0 || rows[i] >= shape[0])
            bad_input(shown_, name, fmt::format("expected a row in 0..{}, found {}", shape[0] - 1, rows[i]));
        select_rows(kept_->file_space, shape, rows[i], 1);
        if (H5Dread(kept_->array.array, H5T_NATIVE_UINT8, kept_->memory_space, kept_->file_space, H5P_DEFAULT,
                    values + i * kept_->row_bytes) < 0)
            bad_input(shown_, name, "cannot be read: " + reason());
    }
    // HDF5 reads zeros beyond the end of a file, and a file may be cut while it is open.
    void* descriptor = nullptr;
    struct stat status {};
    if (H5Fget_vfd_handle(id_, H5P_DEFAULT, &descriptor) < 0 ||
        fstat(*static_cast<int*>(descriptor), &status) != 0 || status.st_size < bytes_)
        bad_input(shown_, name, "cannot be read: the file became shorter while it was open");
}

template <class T>
void Hdf5File::write(const std::string& name, const std::vector<index_t>& shape, const T* values) {
    const Lock lock(library());
    const Handle space(H5Screate_simple(static_cast<int>(shape.size()), sizes_of(shape).data(), nullptr),
                       H5Sclose);
    const Handle create = array_creation(), parents = parents_made();
    const Handle array(H5Dcreate2(id_, name.c_str(), native<T>(), space, parents, create, H5P_DEFAULT),
                       H5Dclose);
    if (array.bad()) bad_write(shown_, name);
    if (H5Sget_simple_extent_npoints(space) > 0 &&
        H5Dwrite(array, native<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        bad_write(shown_, name);
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
    const Handle array(H5Dcreate2(id_, name.c_str(), native<T>(), space, parents, create, H5P_DEFAULT),
                       H5Dclose);
    if (array.bad()) bad_write(shown_, name);
}

template <class T>
void Hdf5File::append(const std::string& name, index_t rows, const T* values) {
    const Lock lock(library());
    if (rows == 0) return;
    const OpenArray array = open_array_of<T>(id_, shown_, bytes_, name);
    std::vector<index_t> shape = array.info.shape, added = shape;
    const index_t first = shape.at(0);
    shape[0] += rows;
    added[0] = rows;
    if (H5Dset_extent(array.array, sizes_of(shape).data()) < 0) bad_write(shown_, name);
    const Handle file_space(H5Dget_space(array.array), H5Sclose);
    select_rows(file_space, shape, first, rows);
    const Handle memory_space(
        H5Screate_simple(static_cast<int>(added.size()), sizes_of(added).data(), nullptr), H5Sclose);
    if (H5Dwrite(array.array, native<T>(), memory_space, file_space, H5P_DEFAULT, values) < 0)
        bad_write(shown_, name);
}

void Hdf5File::create_group(const std::string& name) {
    const Lock lock(library());
    const Handle parents = parents_made();
    const Handle group(H5Gcreate2(id_, name.c_str(), parents, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
    if (group.bad()) bad_write(shown_, name);
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const Handle owner = open_object(id_, shown_, object);
    return H5Aexists(owner, name.c_str()) > 0;
}

std::string Hdf5File::string_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const OpenAttribute attribute = open_attribute(id_, shown_, object, name);
    const auto fail = [&](const std::string& what) {
        bad_input(shown_, object, fmt::format("attribute {}: {}", name, what));
    };
    if (H5Tget_class(attribute.type) != H5T_STRING)
        fail("expected a string, found " + describe_type(attribute.type));
    if (H5Tis_variable_str(attribute.type) > 0) {
        const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
        H5Tset_size(memory, H5T_VARIABLE);
        H5Tset_cset(memory, H5Tget_cset(attribute.type));
        char* text = nullptr;
        if (H5Aread(attribute.attribute, memory, &text) < 0) fail("cannot be read: " + reason());
        const std::string result = text == nullptr ? "" : text;
        H5free_memory(text);
        return result;
    }
    const std::size_t size = H5Tget_size(attribute.type);
    if (bytes_ >= 0 && size > static_cast<std::size_t>(bytes_)) fail("claims more bytes than the file has");
    std::string text(size, '\0');
    if (H5Aread(attribute.attribute, attribute.type, text.data()) < 0) fail("cannot be read: " + reason());
    if (H5Tget_strpad(attribute.type) == H5T_STR_SPACEPAD)
        text.erase(text.find_last_not_of(' ') + 1);
    else
        text.erase(std::min(text.find('\0'), text.size()));
    return text;
}

std::int64_t Hdf5File::integer_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const OpenAttribute attribute = open_attribute(id_, shown_, object, name);
    const auto fail = [&](const std::string& what) {
        bad_input(shown_, object, fmt::format("attribute {}: {}", name, what));
    };
    if (H5Tget_class(attribute.type) != H5T_INTEGER)
        fail("expected an integer, found " + describe_type(attribute.type));
    if (H5Tget_sign(attribute.type) == H5T_SGN_NONE) {
        std::uint64_t value = 0;
        if (H5Aread(attribute.attribute, H5T_NATIVE_UINT64, &value) < 0) fail("cannot be read: " + reason());
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            fail("is too large");
        return static_cast<std::int64_t>(value);
    }
    std::int64_t value = 0;
    if (H5Aread(attribute.attribute, H5T_NATIVE_INT64, &value) < 0) fail("cannot be read: " + reason());
    return value;
}

double Hdf5File::number_attribute(const std::string& object, const std::string& name) const {
    const Lock lock(library());
    const OpenAttribute attribute = open_attribute(id_, shown_, object, name);
    const H5T_class_t kind = H5Tget_class(attribute.type);
    if (kind != H5T_FLOAT && kind != H5T_INTEGER)
        bad_input(
            shown_, object,
            fmt::format("attribute {}: expected a number, found {}", name, describe_type(attribute.type)));
    double value = 0;
    if (H5Aread(attribute.attribute, H5T_NATIVE_DOUBLE, &value) < 0)
        bad_input(shown_, object, fmt::format("attribute {}: cannot be read: {}", name, reason()));
    return value;
}

void Hdf5File::set_string(const std::string& object, const std::string& name, const std::string& value) {
    const Lock lock(library());
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const char* text = value.c_str();
    set_attribute(id_, shown_, object, name, type, &text);
}

void Hdf5File::set_integer(const std::string& object, const std::string& name, std::int64_t value) {
    const Lock lock(library());
    set_attribute(id_, shown_, object, name, H5T_NATIVE_INT64, &value);
}

void Hdf5File::set_number(const std::string& object, const std::string& name, double value) {
    const Lock lock(library());
    set_attribute(id_, shown_, object, name, H5T_NATIVE_DOUBLE, &value);
}

std::string Hdf5File::library_version() {
    const Lock lock(library());
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    return fmt::format("{}.{}.{}", major, minor, release);
}

#define GLOW_ELEMENT(T)                                                                               \
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
