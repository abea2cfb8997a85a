// Photographs of any size, compressed as tiles of the model's size, row by row. Tiles that reach beyond the
// right or lower edge repeat the last column or row; decoding leaves that padding out.
#pragma once

#include "data/formats/photo.h"
#include "inference/compressed_file.h"
#include "inference/loaded_model.h"

namespace glow {

// Names in an archive for photographs with these paths, in order: as PNG files, "holiday/1.jpg" ->
// "holiday/1.png". If two would be equal, or one equal to a folder, the one that is not a PNG file keeps its
// suffix: "holiday/1.jpg.png".
std::vector<std::string> archive_names(const std::vector<std::string>& paths);

// Throws InputError if no file system takes the photograph's name in the archive, because the further suffix
// makes it too long.
void require_restorable(const std::filesystem::path& path, const std::string& name);

// Reads a photograph. Throws InputError if it cannot be read, coded by the model without loss, or restored.
ExactPhoto read_codable_photo(const std::filesystem::path& path, const ModelConfig& model);
CompressedPhoto describe_photo(const ExactPhoto& photo, const std::string& name);

struct PhotoFile {
    std::filesystem::path path;
    CompressedPhoto photo;
    std::int32_t label = 0;  // its class, if the model is conditional
};
// Reads the photographs again, one at a time, last first. The archive holds the labels, so decompression needs
// none. progress(tiles done, all tiles) may be empty. Throws InputError if a file changed since it was described.
CompressedImages compress_photos(LoadedModel& model, const std::vector<PhotoFile>& photos, int threads,
                                 Precision precision,
                                 const std::function<void(index_t, index_t)>& progress = {});

// Calls f(number, picture) for each photograph in order, once its pixels are known to equal the original's.
// Throws as decompress().
void decompress_photos(LoadedModel& model, const CompressedImages& images,
                       const std::function<void(index_t, Image)>& f);

}  // namespace glow
