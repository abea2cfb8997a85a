// Files of latents (docs/formats.md): /eps/level{l} float32 [N, H_l, W_l, C_l], half of the level's channels,
// or all of them in the last level; /labels int32 [N] for conditional models; optionally /names, strings [N];
// attribute config as in a checkpoint; attribute model, a fingerprint of the weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"
#include "inference/loaded_model.h"
#include "layers/config.h"
#include "layers/layer.h"

namespace glow {

// Shape of the latents of level l, and their position in flow.h of N images.
struct LatentLevel {
    index_t level;
    Shape shape;     // H, W, C of the latent
    index_t offset;  // position in flow.h for one image; multiply by N for N images
};
// Deepest level first, as in flow.h. The public TrainedModel::latent_levels() and files of latents have the
// reverse order.
std::vector<LatentLevel> latent_levels(const ModelConfig& model);

// Writes a file atomically, images in order: no file appears before commit().
class LatentWriter {
  public:
    LatentWriter(const std::filesystem::path& path, LoadedModel& model);
    // flow.h: eps of flow.N images in host memory; flow.labels for conditional models. Throws InputError for
    // values that are not finite as float32.
    void append(const Flow& flow);
    // names: of the images, or none.
    void commit(const std::vector<std::string>& names = {});

  private:
    AtomicFile atomic_;
    Hdf5File file_;
    ModelConfig model_;
    index_t written_ = 0;  // images
};

// An open file. The constructor checks everything but values; throws InputError.
class LatentReader {
  public:
    explicit LatentReader(const std::filesystem::path& path);

    index_t images() const { return images_; }
    const ModelConfig& model() const { return model_; }
    // Classes in 0 .. n_classes - 1; empty if the model is not conditional.
    const std::vector<std::int32_t>& labels() const { return labels_; }
    // Whether the file was written with other weights than those of `model`. False for files of earlier
    // versions, which did not record the weights.
    bool has_other_weights(LoadedModel& model) const;
    // Reads images first .. first + flow.N - 1 into flow.h. Throws InputError for non-finite values.
    void read(index_t first, const Flow& flow) const;

  private:
    Hdf5File file_;
    ModelConfig model_;
    index_t images_ = 0;
    std::vector<std::int32_t> labels_;
    std::string weights_;  // fingerprint in hexadecimal; empty if not recorded
};

}  // namespace glow
