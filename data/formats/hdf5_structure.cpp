// Reads all of a file's structure, for the program glow_hdf5_probe.
#include "data/formats/hdf5_objects.h"
#include "kernels/error.h"

namespace glow {

using namespace hdf5;

namespace {

// Reads an object and all below it as readers do, except for the elements of arrays. Ignores errors.
void read_object(const Hdf5File& file, hid_t object, const std::string& name, int depth, std::size_t& links) {
    const auto attempt = [](auto read) {
        try {
            read();
        } catch (const Error&) {
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
    if (kind != H5I_GROUP || depth > kMaxGroupDepth) return;
    bool complete = false;
    for (const Entry& entry : entries_of(object, complete)) {
        if (++links > kMaxLinks) return;
        if (!entry.hard) continue;
        const Handle inner(H5Oopen(object, entry.name.c_str(), H5P_DEFAULT), H5Oclose);
        if (!inner.bad())
            read_object(file, inner, (depth == 0 ? "" : name) + "/" + entry.name, depth + 1, links);
    }
}

}  // namespace

void Hdf5File::read_structure(const std::filesystem::path& path) {
    const Hdf5File file = open_unchecked(path, path);
    const Handle root(H5Oopen(file.id_, "/", H5P_DEFAULT), H5Oclose);
    std::size_t links = 0;
    if (!root.bad()) read_object(file, root, "/", 0, links);
}

}  // namespace glow
