#include "inference/data_access.h"

#include <fmt/format.h>

#include "data/formats/hdf5_file.h"
#include "runtime/memory.h"

namespace glow {
namespace {

constexpr index_t kMaxUnpacked = 16;  // images unpacked per image read before a warning

}  // namespace

bool unpacks_many_images(const ChunkInfo& chunks) {
    return chunks.rows_unpacked > kMaxUnpacked;
}

DataAccess choose_data_access(ImageAccess option, const std::string& data, std::size_t image_bytes,
                              std::size_t machine_bytes, int sharing, const ChunkInfo& chunks) {
    const bool slow = unpacks_many_images(chunks);
    const bool is_auto = option == ImageAccess::automatic;
    const std::size_t needed = image_bytes * static_cast<std::size_t>(sharing);
    DataAccess access{option == ImageAccess::disk || (is_auto && needed > machine_bytes / 4), ""};
    if (!access.on_disk || !slow) return access;
    const bool fits = needed <= machine_bytes / 2;
    const std::string found =
        fmt::format("{}: reading one image from disk unpacks compressed chunks as large as {} images ({})",
                    data, chunks.rows_unpacked,
                    format_bytes(static_cast<std::size_t>(chunks.rows_unpacked * chunks.row_bytes)));
    if (is_auto && fits) {
        access.on_disk = false;
        access.warning = fmt::format("{}; loading the images into memory instead ({} of {})", found,
                                     format_bytes(needed), format_bytes(machine_bytes));
    } else {
        access.warning = fmt::format(
            "{}, which is slow: {}rewrite the file with chunks of a few images, as glow_data does (or with h5repack "
            "-l SPLIT/images:CHUNK=16xHxWxC)",
            found, fits ? "use --data-access memory, or " : "");
    }
    return access;
}

}  // namespace glow
