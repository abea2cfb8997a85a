// Encodes the images of a data set or folder, batch by batch.
#pragma once

#include <filesystem>
#include <vector>

#include "inference/latent_images.h"
#include "inference/loaded_model.h"
#include "tools/folder_images.h"

namespace glow {

struct DatasetEncoding {
    DatasetEncoding(const CommandLine& command, const ModelOptions& options, const DataOptions& data)
        : backend(options.open_backend(command)),
          checkpoint(find_checkpoint(options.checkpoint)),
          images(load_images(command, options, data, checkpoint, backend.exec().threads)),
          set(images.set),
          model(options.load(command, checkpoint, {set.H, set.W}, set.N, backend)) {}

    // Calls f(first image, flow in host memory with the images' eps in h).
    template <class F>
    void each_batch(F f) {
        std::vector<state_t> eps;
        for (index_t first = 0; first < set.N; first += model.buffers().capacity) {
            const index_t count = std::min(model.buffers().capacity, set.N - first);
            const std::int32_t* const labels = set.labels.empty() ? nullptr : set.labels.data() + first;
            eps.resize(static_cast<std::size_t>(count * model.glow().config().dimensions()));
            encode_images(model, count, set.image(first), labels, eps.data());
            Flow flow;
            flow.N = count;
            flow.h = eps.data();
            flow.labels = labels;
            f(first, flow);
        }
    }

    Backend backend;
    std::filesystem::path checkpoint;
    NamedImages images;
    const ImageSet& set;
    LoadedModel model;
};

}  // namespace glow
