// Files of latents (spec section 3): /eps/level{l} float32 [N, H_l, W_l, C_l], half of the level's channels,
// all of them at the top; /labels int32 [N] of conditional models; attribute config as in a checkpoint.
#pragma once

#include <filesystem>
#include <vector>

#include "layers/layer.h"
#include "inference/model_file.h"
#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"

namespace glow {

// Where the latents of level l lie in flow.h of N images, and their shape.
struct LatentPart {
    index_t level;
    Shape shape;     // H, W, C of the latent
    index_t offset;  // elements of flow.h for one image; times N for N images
};
// Deepest level first, as they lie.
std::vector<LatentPart> latent_parts(const ModelConfig& model);

// Writes a file, images in order, atomically: without commit() nothing appears.
class LatentWriter {
  public:
    LatentWriter(const std::filesystem::path& path, const nlohmann::ordered_json& config,
                 const ModelConfig& model);
    // flow.h: eps of flow.N images, in host memory; flow.labels of conditional models.
    void append(const Flow& flow);
    void commit();

  private:
    AtomicFile atomic_;
    Hdf5File file_;
    ModelConfig model_;
};

// A file open for reading. The constructor checks it but for the values: InputError says what is wrong.
class LatentReader {
  public:
    explicit LatentReader(const std::filesystem::path& path);

    index_t images() const { return images_; }
    const ModelConfig& model() const { return model_; }
    // Classes, each in 0 .. n_classes - 1; empty where the model is not conditional.
    const std::vector<std::int32_t>& labels() const { return labels_; }
    // Images first .. first + flow.N - 1 into flow.h. InputError for a value that is not finite.
    void read(index_t first, const Flow& flow) const;

  private:
    Hdf5File file_;
    ModelConfig model_;
    index_t images_ = 0;
    std::vector<std::int32_t> labels_;
};

}  // namespace glow
