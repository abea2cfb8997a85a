#include "data/formats/hdf5_objects.h"

#include <algorithm>

namespace glow::hdf5 {

bool find(hid_t file, const std::filesystem::path& shown, const std::string& name) {
    const Handle access = link_access();
    std::size_t end = 0;
    while (end < name.size()) {
        const std::size_t begin = name.find_first_not_of('/', end);
        if (begin == std::string::npos) break;  // the root, or trailing slashes
        end = std::min(name.find('/', begin), name.size());
        const std::string prefix = name.substr(0, end);
        if (H5Lexists(file, prefix.c_str(), access) <= 0) {
            require_read(shown, prefix);
            return false;
        }
        H5L_info_t info;
        if (H5Lget_info(file, prefix.c_str(), &info, access) < 0) bad_input(shown, prefix, reason());
        if (info.type != H5L_TYPE_HARD && info.type != H5L_TYPE_SOFT)
            bad_input(shown, prefix, "links to another file, which is not allowed");
        const htri_t there = H5Oexists_by_name(file, prefix.c_str(), access);
        if (there < 0) bad_input(shown, prefix, "is a damaged link or one that leaves the file: " + reason());
        if (there == 0) bad_input(shown, prefix, "is a link to an object that is missing");
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

namespace {

constexpr index_t kMaxRatio = 1040;  // deflate compresses by at most 1032

// Shape of a data space. Throws for a null space and for sizes that overflow.
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
    if (too_large && !empty) bad_input(shown, name, "claims too many elements: " + shape_text(info.shape));
    return info;
}

// An array while it is checked.
struct Checked {
    const OpenArray& array;
    const std::filesystem::path& shown;
    const std::string& name;
    hid_t create;  // its creation properties
    index_t element_bytes;
};

// Throws for a compression that we do not read; the number of filters.
int check_filters(const Checked& c) {
    const int filters = H5Pget_nfilters(c.create);
    for (int i = 0; i < filters; ++i) {
        unsigned flags = 0, config = 0;
        std::size_t values = 0;
        const H5Z_filter_t filter =
            H5Pget_filter2(c.create, static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, &config);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            bad_input(c.shown, c.name,
                      fmt::format("is compressed by HDF5 filter {}: write it with gzip or without",
                                  static_cast<int>(filter)));
    }
    return filters;
}

// Throws if the file, of `bytes` bytes, stores less than the array needs, or not all of its chunks.
void check_storage(const Checked& c, H5D_layout_t layout, int filters, index_t bytes) {
    const ArrayInfo& info = c.array.info;
    const auto stored = static_cast<index_t>(H5Dget_storage_size(c.array.array));
    const index_t most = filters > 0 ? stored * kMaxRatio : stored;
    const auto claim = [&](__int128 claimed) {
        if (claimed > most || stored > bytes)
            bad_input(
                c.shown, c.name,
                fmt::format(
                    "claims {} of {}, but {} bytes of the file's {} belong to it: truncated, damaged or "
                    "never written",
                    shape_text(info.shape), c.array.type_text, stored, bytes));
    };
    claim(static_cast<__int128>(info.elements) * c.element_bytes);
    if (layout != H5D_CHUNKED) return;
    hsize_t chunk[H5S_MAX_RANK] = {};
    if (H5Pget_chunk(c.create, H5S_MAX_RANK, chunk) < 0)
        bad_input(c.shown, c.name, "is damaged: " + reason());
    __int128 chunk_bytes = c.element_bytes;
    hsize_t expected = 1, written = 0;
    for (std::size_t axis = 0; axis < info.shape.size(); ++axis) {
        if (chunk[axis] == 0) bad_input(c.shown, c.name, "is damaged: a chunk is empty");
        chunk_bytes *= chunk[axis];
        claim(chunk_bytes);
        expected *= (static_cast<hsize_t>(info.shape[axis]) + chunk[axis] - 1) / chunk[axis];
    }
    const Handle space(H5Dget_space(c.array.array), H5Sclose);
    if (H5Dget_num_chunks(c.array.array, space, &written) < 0 || written < expected)
        bad_input(c.shown, c.name, fmt::format("only {} of its {} chunks were written", written, expected));
}

}  // namespace

OpenArray open_array(hid_t file, const std::filesystem::path& shown, index_t bytes, const std::string& name) {
    Handle array = open_object(file, shown, name);
    if (H5Iget_type(array) != H5I_DATASET)
        bad_input(shown, name, "expected an array, found a group or a type");
    const Handle create(H5Dget_create_plist(array), H5Pclose);
    if (create.bad()) bad_input(shown, name, "cannot be opened: " + reason());
    const H5D_layout_t layout = H5Pget_layout(create);
    if (layout == H5D_VIRTUAL)
        bad_input(shown, name, "is a virtual data set, which is not supported: copy it into one file");
    if (H5Pget_external_count(create) != 0)
        bad_input(shown, name, "is stored in another file, which is not allowed");

    const Handle type(H5Dget_type(array), H5Tclose);
    if (type.bad()) bad_input(shown, name, "has no type: " + reason());
    ArrayInfo info = shape_of(array, shown, name);
    info.type = classify(type);
    std::string type_text = describe_type(type);
    OpenArray result{std::move(array), std::move(info), std::move(type_text)};
    if (bytes < 0 || result.info.elements == 0) return result;

    const Checked checked{result, shown, name, create, static_cast<index_t>(H5Tget_size(type))};
    check_storage(checked, layout, check_filters(checked), bytes);
    return result;
}

std::vector<Entry> entries_of(hid_t group, bool& complete) {
    std::vector<Entry> entries;
    const herr_t visited = H5Literate(
        group, H5_INDEX_NAME, H5_ITER_INC, nullptr,
        [](hid_t, const char* name, const H5L_info_t* info, void* out) -> herr_t {
            try {
                auto& list = *static_cast<std::vector<Entry>*>(out);
                if (list.size() > kMaxLinks) return -1;
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
namespace {

void list(hid_t group, const std::filesystem::path& shown, const std::string& prefix, int depth,
          std::size_t& links, std::vector<std::string>& found) {
    if (depth > kMaxGroupDepth) bad_input(shown, prefix, "groups are nested too deep or form a cycle");
    bool complete = false;
    for (const Entry& entry : entries_of(group, complete)) {
        const std::string name = prefix + "/" + entry.name;
        if (++links > kMaxLinks)
            bad_input(shown, name, fmt::format("the file has more than {} objects", kMaxLinks));
        if (!entry.hard) bad_input(shown, name, "is a symbolic or external link, which is not allowed here");
        const Handle object(H5Oopen(group, entry.name.c_str(), H5P_DEFAULT), H5Oclose);
        if (object.bad()) bad_input(shown, name, "cannot be opened: " + reason());
        const H5I_type_t kind = H5Iget_type(object);
        if (kind == H5I_DATASET) found.push_back(name);
        if (kind == H5I_GROUP) list(object, shown, name, depth + 1, links, found);
    }
    if (!complete) bad_input(shown, prefix.empty() ? "/" : prefix, "cannot be listed: " + reason());
}

}  // namespace

void list_arrays(hid_t group, const std::filesystem::path& shown, const std::string& prefix,
                 std::vector<std::string>& found) {
    std::size_t links = 0;
    list(group, shown, prefix, 0, links, found);
}

}  // namespace glow::hdf5
