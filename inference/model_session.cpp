#include "inference/model_session.h"

#include <fmt/format.h>

#include "inference/evaluate.h"
#include "inference/host_weights.h"
#include "inference/model_file.h"
#include "kernels/error.h"
#include "runtime/device.h"

namespace glow {
namespace {

index_t checked_batch(index_t batch) {
    if (batch < 1 || batch > index_t{1} << 20)
        throw InputError(fmt::format("batch: expected 1 .. 2^20 images, got {}", batch));
    return batch;
}

int checked_threads(int threads) {
    if (threads < 0 || threads > kMaxThreads)
        throw InputError(
            fmt::format("threads: expected 0 (the default) .. {}, got {}", kMaxThreads, threads));
    return threads;
}

}  // namespace

ModelSession::ModelSession(const std::filesystem::path& file, const SessionOptions& options)
    : ModelSession(ModelFile(file), options, cuda::DeviceScope()) {}

ModelSession::ModelSession(const ModelFile& model, const SessionOptions& options, const cuda::DeviceScope&)
    : batch_(checked_batch(options.batch)),
      backend_(options.device, checked_threads(options.threads)),
      model_(model.checkpoint(), options.averaged, options.precision, batch_, backend_) {}

void ModelSession::set_image_size(const ImageSize& size) {
    if (size == image_size(config())) return;
    density_.reset();  // first, to free its memory
    model_.resize(size, images_at_once(trained_config(), size, batch_));
}

std::vector<double> ModelSession::bits_per_dim(const PixelArray& images, const LikelihoodRequest& request) {
    check_draws(request);
    return glow::bits_per_dim(model_.runnable(), images, request);
}

void ModelSession::log_prob_and_gradient(const PixelArray& images, std::uint64_t seed, double* log_prob,
                                         float* gradient) {
    density_.gradient().run(images, seed, log_prob, gradient);
    per_bin(images.N, log_prob);
    synchronize(backend_.exec());  // a gradient on the GPU is complete
}

void ModelSession::encode_gradient(const PixelArray& images, const std::vector<const double*>& upstream,
                                   float* gradient) {
    density_.gradient().run_latents(images, upstream, gradient);
    synchronize(backend_.exec());  // a gradient on the GPU is complete
}

void ModelSession::per_bin(index_t N, double* log_density) const {
    for (index_t n = 0; n < N; ++n)
        log_density[n] = config().bits_per_dim(log_density[n]) * -config().nats_per_bit_dim();
}

void ModelSession::log_density_map(const PixelArray& images, std::uint64_t seed, double* maps) {
    density_.maps().run(images, evaluation_noise(config(), seed), 0, maps);
}

void ModelSession::encode(const PixelArray& images, const std::vector<double*>& levels) {
    encode_levels(model_.runnable(), images, levels);
}

SampleHealth ModelSession::decode(index_t N, const std::vector<const double*>& levels,
                                  const std::int32_t* labels, std::uint8_t* pixels, double* largest) {
    return decode_levels(model_.runnable(), N, levels, labels, pixels, largest);
}

SampleHealth ModelSession::sample(const SampleRequest& request, std::uint8_t* pixels, double* largest,
                                  double* log_prob) {
    if (!(request.temperature >= 0 && request.temperature <= 100))
        throw InputError(
            fmt::format("sample: expected a temperature between 0 and 100, got {}", request.temperature));
    std::vector<double> scratch(largest == nullptr ? static_cast<std::size_t>(request.count) : 0);
    if (largest == nullptr) largest = scratch.data();
    glow::sample(model_.runnable(), request, pixels, largest, log_prob);
    if (log_prob != nullptr) per_bin(request.count, log_prob);
    return cross_out_not_finite(config(), request.count, largest, pixels);
}

void ModelSession::for_each_weight(const std::function<void(const Tensor&, const float*)>& f) {
    Parameters& parameters = model_.glow().parameters();
    HostWeights weights(backend_.exec(), parameters,
                        {.params = parameters.values(), .fixed = parameters.fixed()});
    weights.fetch();
    for (const Tensor& tensor : parameters.tensors()) f(tensor, weights.get().params + tensor.offset);
    for (const Tensor& tensor : parameters.fixed_tensors()) f(tensor, weights.get().fixed + tensor.offset);
}

void ModelSession::save_weights(const std::filesystem::path& file) {
    nlohmann::ordered_json written = to_json(trained_config());
    written["training"] = nlohmann::ordered_json::object();
    Parameters& parameters = model_.glow().parameters();
    save_checkpoint(file, written, model_.info().progress, nullptr, parameters, model_.context().exec,
                    {.params = parameters.values(), .fixed = parameters.fixed()});
}

}  // namespace glow
