// Validated access to untrusted HDF5 files, for hdf5_*.cpp only. Names are resolved link by link and never
// leave the file; every array is checked against the file's size before it is read.
#pragma once

#include <fmt/format.h>

#include "data/formats/hdf5_calls.h"

namespace glow::hdf5 {

inline constexpr int kMaxGroupDepth = 64;         // nesting of groups; stops cycles of links
inline constexpr std::size_t kMaxLinks = 300000;  // links visited by one listing

// Whether the object exists inside this file. Throws if a link leaves the file. `shown` is the file name for
// messages, here and below.
bool find(hid_t file, const std::filesystem::path& shown, const std::string& name);
Handle open_object(hid_t file, const std::filesystem::path& shown, const std::string& name);

struct Entry {
    std::string name;
    bool hard;  // not a symbolic or external link
};
// Links of a group, sorted by name. Sets `complete` to false if some could not be read.
std::vector<Entry> entries_of(hid_t group, bool& complete);
// Appends the full names of all arrays below the group to `found`.
void list_arrays(hid_t group, const std::filesystem::path& shown, const std::string& prefix,
                 std::vector<std::string>& found);

struct OpenArray {
    Handle array;
    ArrayInfo info;
    std::string type_text;
};

// Opens an array. If the file is being read (`bytes` is its size, >= 0), throws for arrays that are stored
// elsewhere, were never written, use unknown filters, or claim more than `bytes` can hold.
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
