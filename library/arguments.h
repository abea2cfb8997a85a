// Arguments of the public library (include/glow/glow.h) as the types of the folders below, and their errors as
// the library's.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>

#include "glow/glow.h"
#include "inference/image_arrays.h"
#include "kernels/error.h"
#include "layers/config.h"

namespace glow {

// Calls f. Users see an InputError as InvalidArgument.
template <class F>
auto with_public_errors(F f) {
    try {
        return f();
    } catch (const InputError& error) {
        throw InvalidArgument(error.what());
    }
}

// The same with the GPU of a Backend or ModelSession selected, if it uses one, instead of the caller's.
template <class Owner, class F>
auto run_on(const Owner& owner, F f) {
    return with_public_errors([&] {
        const auto device = owner.select_device();
        return f();
    });
}

// A file's name, which the system would cut off at a null character.
std::filesystem::path checked_name(const std::string& name);

ModelShape shape_of(const ModelConfig& config);
ModelConfig config_of(const ModelShape& shape);

// Checks images and labels against a model; refers to them.
template <class T>
PixelArray checked_array(const ModelConfig& model, ArrayView<T> images, ArrayView<std::int32_t> labels) {
    const auto D = static_cast<std::size_t>(model.dimensions());
    if (images.empty() || images.size() % D != 0)
        throw InputError(fmt::format("got {} pixel values, expected a multiple of {}x{}x{} (one image)",
                                     images.size(), model.image_height, model.image_width, model.channels));
    const auto N = static_cast<index_t>(images.size() / D);
    check_labels(model, N, labels.data(), labels.size());
    return {N, images.data(), labels.empty() ? nullptr : labels.data()};
}

}  // namespace glow
