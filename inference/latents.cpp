#include "inference/latents.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "inference/model_fingerprint.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr const char* kWeights = "model";  // attribute

std::string array_of(const LatentLevel& level) {
    return fmt::format("/eps/level{}", level.level);
}

std::string weights_text(LoadedModel& model) {
    return fmt::format("{:016x}", fingerprint(model));
}

}  // namespace

std::vector<LatentLevel> latent_levels(const ModelConfig& model) {
    std::vector<LatentLevel> levels;
    index_t offset = 0;
    for (index_t l = model.levels; l-- > 0;) {
        Shape shape = level_shape(model, l);
        if (l + 1 < model.levels) shape.C /= 2;
        levels.push_back({l, shape, offset});
        offset += shape.size();
    }
    return levels;
}

LatentWriter::LatentWriter(const std::filesystem::path& path, LoadedModel& model)
    : atomic_(path), file_(Hdf5File::create(atomic_.temporary(), path)), model_(model.config()) {
    file_.set_string("/", "format", "glow-latents");
    file_.set_integer("/", "version", 1);
    file_.set_string("/", "config", model.config_json().dump());
    file_.set_string("/", kWeights, weights_text(model));
    for (const LatentLevel& level : latent_levels(model_))
        file_.create_growing<float>(array_of(level), {level.shape.H, level.shape.W, level.shape.C});
    if (model_.y_cond) file_.create_growing<std::int32_t>("/labels", {});
}

void LatentWriter::append(const Flow& flow) {
    std::vector<float> values;
    for (const LatentLevel& level : latent_levels(model_)) {
        const state_t* const first = flow.h + flow.N * level.offset;
        values.assign(first, first + flow.N * level.shape.size());
        const auto bad =
            std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
        if (bad != values.end())
            throw InputError(fmt::format("the latents of image {} are not finite: the run may have diverged",
                                         written_ + (bad - values.begin()) / level.shape.size()));
        file_.append<float>(array_of(level), flow.N, values.data());
    }
    if (model_.y_cond) file_.append<std::int32_t>("/labels", flow.N, flow.labels);
    written_ += flow.N;
}

void LatentWriter::commit(const std::vector<std::string>& names) {
    if (!names.empty()) file_.write_strings("/names", names);
    file_.close();
    atomic_.commit();
}

LatentReader::LatentReader(const std::filesystem::path& path) : file_(Hdf5File::open(path)) {
    const auto refuse = [&](const std::string& what) {
        throw InputError(fmt::format("{}: not usable as latents: {}", path.string(), what));
    };
    if (!file_.has_attribute("/", "config")) refuse("attribute config is missing");
    try {
        model_ = model_from_json(parse_config(file_.string_attribute("/", "config")));
    } catch (const InputError& error) {
        refuse(error.what());
    }
    if (file_.has_attribute("/", kWeights)) weights_ = file_.string_attribute("/", kWeights);
    images_ = -1;
    for (const LatentLevel& level : latent_levels(model_)) {
        const std::string name = array_of(level);
        if (!file_.exists(name)) refuse(name + " is missing");
        const ArrayInfo info = file_.describe(name);
        const index_t N = info.shape.empty() ? 0 : info.shape[0];
        const std::vector<index_t> expected = {N, level.shape.H, level.shape.W, level.shape.C};
        if (info.type != ElementType::float32 || info.shape != expected)
            refuse(fmt::format("{} is not float32 [N, {}, {}, {}]", name, level.shape.H, level.shape.W,
                               level.shape.C));
        if (images_ >= 0 && N != images_)
            refuse(fmt::format("{} has {} images, but another level has {}", name, N, images_));
        images_ = N;
    }
    if (images_ == 0) refuse("it contains no images");
    if (!model_.y_cond) return;
    if (!file_.exists("/labels")) refuse("/labels is missing, but its model is conditional");
    labels_ = file_.read<std::int32_t>("/labels", {images_});
    for (const std::int32_t label : labels_)
        if (label < 0 || label >= model_.n_classes)
            refuse(fmt::format("label {} is not in 0..{}", label, model_.n_classes - 1));
}

bool LatentReader::has_other_weights(LoadedModel& model) const {
    return !weights_.empty() && weights_ != weights_text(model);
}

void LatentReader::read(index_t first, const Flow& flow) const {
    std::vector<float> values;
    for (const LatentLevel& level : latent_levels(model_)) {
        values.resize(static_cast<std::size_t>(flow.N * level.shape.size()));
        file_.read_rows<float>(array_of(level), first, flow.N, values.data());
        if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }))
            throw InputError(
                fmt::format("{}: {} has a value that is not finite", file_.path().string(), array_of(level)));
        std::copy(values.begin(), values.end(), flow.h + flow.N * level.offset);
    }
}

}  // namespace glow
