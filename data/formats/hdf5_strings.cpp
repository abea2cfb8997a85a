// Arrays of strings: written with a fixed length, read with a fixed or variable one (h5py writes variable
// ones).
#include <algorithm>

#include "data/formats/hdf5_file.h"
#include "data/formats/hdf5_objects.h"
#include "kernels/error.h"

namespace glow {

using namespace hdf5;

namespace {

constexpr index_t kBlockBytes = index_t{1} << 24;  // of strings read at once

// Text of an element of fixed length without its padding.
std::string unpadded(const char* text, std::size_t size, H5T_str_t padding) {
    std::string result(text, size);
    if (padding == H5T_STR_SPACEPAD)
        result.erase(result.find_last_not_of(' ') + 1);
    else
        result.erase(std::min(result.find('\0'), result.size()));
    return result;
}

}  // namespace

void Hdf5File::write_strings(const std::string& name, const std::vector<std::string>& strings) {
    const Lock lock(library());
    std::size_t length = 1;
    for (const std::string& text : strings) length = std::max(length, text.size());
    std::vector<char> padded(strings.size() * length, '\0');
    for (std::size_t n = 0; n < strings.size(); ++n)
        std::copy(strings[n].begin(), strings[n].end(),
                  padded.begin() + static_cast<std::ptrdiff_t>(n * length));
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, length);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    const hsize_t count = strings.size();
    const Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
    const Handle create = array_creation(), parents = parents_made();
    Handle array(H5Dcreate2(id_, name.c_str(), type, space, parents, create, H5P_DEFAULT), H5Dclose);
    require_written(!array.bad(), name);
    if (count > 0)
        require_written(H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()) >= 0, name);
    require_written(array.close(), name);
}

std::vector<std::string> Hdf5File::read_strings(const std::string& name) const {
    const Lock lock(library());
    const OpenArray array = open_array(id_, shown_, bytes_, name);
    const Handle type(H5Dget_type(array.array), H5Tclose);
    if (H5Tget_class(type) != H5T_STRING || array.info.shape.size() != 1)
        bad_input(
            shown_, name,
            fmt::format("expected strings [N], found {} {}", array.type_text, shape_text(array.info.shape)));
    const bool variable = H5Tis_variable_str(type) > 0;
    const auto element = static_cast<index_t>(H5Tget_size(type));
    const index_t count = array.info.elements,
                  block = std::max<index_t>(1, kBlockBytes / std::max<index_t>(1, element));
    const Handle memory(variable ? H5Tcopy(H5T_C_S1) : H5Tcopy(type), H5Tclose);
    if (variable) {
        H5Tset_size(memory, H5T_VARIABLE);
        H5Tset_cset(memory, H5Tget_cset(type));
    }
    std::vector<std::string> strings;
    strings.reserve(static_cast<std::size_t>(count));
    std::vector<char> bytes(static_cast<std::size_t>(std::min(block, count) * element));
    const Handle file_space(H5Dget_space(array.array), H5Sclose);
    for (index_t first = 0; first < count; first += block) {
        const index_t rows = std::min(block, count - first);
        const Handle memory_space = rows_space(array.info.shape, rows);
        select_rows(file_space, array.info.shape, first, rows);
        if (H5Dread(array.array, memory, memory_space, file_space, H5P_DEFAULT, bytes.data()) < 0)
            bad_input(shown_, name, "cannot be read: " + reason());
        for (index_t n = 0; n < rows; ++n) {
            const char* const at = bytes.data() + n * element;
            if (!variable) {
                strings.push_back(unpadded(at, static_cast<std::size_t>(element), H5Tget_strpad(type)));
                continue;
            }
            const char* text = nullptr;
            std::copy_n(at, sizeof text, reinterpret_cast<char*>(&text));
            strings.emplace_back(text == nullptr ? "" : text);
        }
        if (variable) H5Dvlen_reclaim(memory, memory_space, H5P_DEFAULT, bytes.data());
    }
    require_not_shorter(id_, shown_, bytes_, name);
    return strings;
}

}  // namespace glow
