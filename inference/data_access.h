// Whether images are loaded into memory or read from disk each time. Not in data/, which may not include
// runtime/.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/enum_names.h"

namespace glow {

struct ChunkInfo;

enum class ImageAccess { automatic, memory, disk };  // --data-access

template <>
struct EnumNames<ImageAccess> {
    static constexpr const char* what = "data access";
    static constexpr EnumName<ImageAccess> values[] = {
        {ImageAccess::automatic, "auto"}, {ImageAccess::memory, "memory"}, {ImageAccess::disk, "disk"}};
};

// Whether reading single images from disk is slow: compressed chunks of many images are unpacked for each.
bool unpacks_many_images(const ChunkInfo& chunks);
// Location of the images, and a warning (or empty).
struct DataAccess {
    bool on_disk = false;
    std::string warning;
};
// option: memory, disk, or auto: memory if the images of all processes take at most a quarter of the
// machine's memory, or half of it if reading single images from the file is slow. `chunks`: the layout of the
// slowest split; `sharing`: processes on this machine, each with all images.
DataAccess choose_data_access(ImageAccess option, const std::string& data, std::size_t image_bytes,
                              std::size_t machine_bytes, int sharing, const ChunkInfo& chunks);

}  // namespace glow
