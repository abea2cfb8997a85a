#include "tools/image_output.h"

#include <fmt/format.h>

#include "data/formats/output_name.h"
#include "data/grid.h"
#include "kernels/error.h"

namespace glow {

PngFolder::PngFolder(const std::filesystem::path& folder, const ModelConfig& model)
    : folder_(folder), model_(model) {
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    if (failed)
        throw InputError(fmt::format("{}: cannot create the folder: {}", folder.string(), failed.message()));
    const AtomicFile writable(folder / "000000.png");
}

void PngFolder::append(const std::uint8_t* pixels, index_t count) {
    const index_t D = model_.dimensions();
    for (index_t n = 0; n < count; ++n)
        write_png(folder_ / fmt::format("{:06d}.png", done_++), {model_.image_height,
                                                                 model_.image_width,
                                                                 model_.channels,
                                                                 {pixels + n * D, pixels + (n + 1) * D}});
}

ImageSink::ImageSink(const std::string& output, const ModelConfig& model) {
    if (!is_hdf5_name(output)) {
        folder_.emplace(output, model);
        return;
    }
    atomic_.emplace(output);
    file_.emplace(Hdf5File::create(atomic_->temporary(), output));
    file_->create_growing<std::uint8_t>("/images", {model.image_height, model.image_width, model.channels});
}

void ImageSink::append(const std::uint8_t* pixels, index_t count) {
    if (folder_)
        folder_->append(pixels, count);
    else
        file_->append<std::uint8_t>("/images", count, pixels);
}

void ImageSink::commit() {
    if (folder_) return;
    file_->close();
    atomic_->commit();
}

}  // namespace glow
