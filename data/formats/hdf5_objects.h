// What a file holds, with distrust: names are looked up link by link and never lead out of the file, and
// every array is compared with the file's size before it is read. For hdf5_*.cpp alone.
#pragma once

#include <fmt/format.h>

#include "data/formats/hdf5_calls.h"

namespace glow::hdf5 {

inline constexpr int kDeepestGroup = 64;           // levels of groups, against cycles of links
inline constexpr std::size_t kMostLinks = 300000;  // links that a listing looks at

// Does the object exist, reached by links within the file? Throws where a link leads out of it. `shown` is
// the file's name in messages, here and below.
bool find(hid_t file, const std::filesystem::path& shown, const std::string& name);
Handle open_object(hid_t file, const std::filesystem::path& shown, const std::string& name);

struct Entry {
    std::string name;
    bool hard;  // not a symbolic or external link
};
// The links of a group, sorted by name. `complete` says whether all could be read.
std::vector<Entry> entries_of(hid_t group, bool& complete);
// Adds the names of all arrays below the group to `found`, each beginning with the prefix.
void list_arrays(hid_t group, const std::filesystem::path& shown, const std::string& prefix,
                 std::vector<std::string>& found);

struct OpenArray {
    Handle array;
    ArrayInfo info;
    std::string type_text;
};

// Opens an array. For a file that is read (bytes, its size, >= 0), refuses what lies elsewhere, was never
// written, is compressed in ways that HDF5 itself does not know, or claims more than the bytes can hold.
OpenArray open_array(hid_t file, const std::filesystem::path& shown, index_t bytes, const std::string& name);
template <class T>
OpenArray open_array_of(hid_t file, const std::filesystem::path& shown, index_t bytes,
                        const std::string& name) {
    OpenArray array = open_array(file, shown, bytes, name);
    if (array.info.type != element_type<T>())
        bad_input(shown, name,
                  fmt::format("expected {}, found {}", type_name(element_type<T>()), array.type_text));
    return array;
}

}  // namespace glow::hdf5
