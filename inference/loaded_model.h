// A checkpoint's model, ready to run, and whether images fit it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "inference/flow_buffers.h"
#include "inference/model_config.h"
#include "inference/model_file.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"

namespace glow {

// Throws InputError, with the reason, unless a split fits a checkpoint's model: equal channels, height and
// width divisible by 2^L and, for a conditional model, labels with the right number of classes.
void require_fitting(const std::filesystem::path& data, const DatasetInfo& info, const std::string& split,
                     const std::filesystem::path& checkpoint, const ModelConfig& model);

// Number of images of this size per pass: `batch`, or fewer (at least one) if they are larger than the
// training images, so that memory does not grow with the size.
index_t images_at_once(const ModelConfig& trained, const ImageSize& size, index_t batch);

// A checkpoint's model, ready to run on images of one size.
class LoadedModel {
  public:
    // ema: use the averaged weights if the checkpoint has them (see used_ema()), otherwise the raw ones.
    // images: per pass. size: of the images; by default that of the training images. Throws InputError for an
    // incomplete checkpoint, a size that does not fit the model, or one that needs more memory than the host
    // has.
    LoadedModel(const std::filesystem::path& checkpoint, bool ema, Precision precision, index_t images,
                const Backend& backend, std::optional<ImageSize> size = {});

    // Changes the image size, with the same weights. Invalidates the results of runnable(), glow(), context()
    // and buffers(). Throws as the constructor does, and then leaves the model unchanged.
    void resize(const ImageSize& size, index_t images);
    // Throws InputError unless the host has memory for the model and `more` bytes.
    void require_memory(std::size_t more) const;

    Glow& glow() { return *run_.glow; }
    const ModelConfig& config() const { return run_.glow->config(); }
    // Contents of the checkpoint; its model has the size of the training images.
    const CheckpointInfo& info() const { return info_; }
    // `config` of the checkpoint, with the current image size.
    nlohmann::ordered_json config_json() const;
    bool used_ema() const { return used_ema_; }
    Precision precision() const { return precision_; }
    const Context& context() const { return *run_.context; }
    const FlowBuffers& buffers() const { return run_.buffers; }
    RunnableModel runnable() { return {*run_.context, *run_.glow, run_.buffers}; }

  private:
    // Everything that depends on the image size.
    struct Run {
        std::unique_ptr<Glow> glow;
        std::unique_ptr<Memory> memory;
        std::unique_ptr<Context> context;
        FlowBuffers buffers;
        std::size_t bytes = 0;  // of `memory`
    };
    Run make_run(const ImageSize& size, index_t images) const;

    std::filesystem::path checkpoint_;
    CheckpointInfo info_;
    Precision precision_;
    const Backend* backend_;
    bool used_ema_ = false;
    std::unique_ptr<Memory> weights_memory_;
    float *values_ = nullptr, *fixed_ = nullptr;  // the parameters
    Run run_;
};

}  // namespace glow
