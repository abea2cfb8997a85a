#include <algorithm>

#include "inference/density_map.h"
#include "inference/latents.h"
#include "inference/model_session.h"
#include "library/arguments.h"
#include "runtime/device.h"

namespace glow {
namespace {

// checked_array(), with the number of the first image.
PixelArray numbered_array(const ModelConfig& model, ArrayView<std::uint8_t> images,
                          ArrayView<std::int32_t> labels, const NoiseOptions& noise) {
    // An item of noise has 40 bits for the image; the others are the draw.
    if (noise.first_image < 0 || noise.first_image > std::int64_t{1} << 39)
        throw InputError(fmt::format("first_image: expected 0 .. 2^39, got {}", noise.first_image));
    PixelArray array = checked_array(model, images, labels);
    array.number = noise.first_image;
    return array;
}

void require_one_draw(const char* function, const NoiseOptions& noise) {
    if (noise.iw_samples != 1 || noise.dequant_samples != 1)
        throw InputError(fmt::format("{}: iw_samples and dequant_samples must be 1", function));
}

// largest: as sample() sets it.
ImageProblems problems_of(const std::vector<double>& largest) {
    ImageProblems problems;
    for (std::size_t n = 0; n < largest.size(); ++n) {
        SampleHealth health;
        health.add(1, &largest[n]);
        if (health.not_finite > 0) problems.not_finite.push_back(static_cast<std::int64_t>(n));
        if (health.out_of_range > 0) problems.out_of_range.push_back(static_cast<std::int64_t>(n));
    }
    return problems;
}

}  // namespace

struct TrainedModel::State {
    State(const std::string& checkpoint, const LoadOptions& options)
        : session(checked_name(checkpoint), {options.averaged, parse_device(options.device), options.threads,
                                             parse_name<Precision>(options.precision), options.batch}) {}
    const ModelConfig& config() { return session.config(); }

    std::vector<double> bits_per_dim(const PixelArray& images, const NoiseOptions& noise) {
        LikelihoodRequest request;
        request.seed = noise.seed;
        request.iw_samples = noise.iw_samples;
        request.dequant_samples = noise.dequant_samples;
        return session.bits_per_dim(images, request);
    }

    // images: as checked_array() returns them.
    InputGradient input_gradient(const PixelArray& images, std::uint64_t seed) {
        InputGradient result{std::vector<double>(static_cast<std::size_t>(images.N)),
                             std::vector<float>(static_cast<std::size_t>(images.N * config().dimensions()))};
        session.log_prob_and_gradient(images, seed, result.log_prob.data(), result.gradient.data());
        return result;
    }

    // Level 0 first.
    std::vector<LevelLatents> levels() {
        std::vector<LevelLatents> levels(static_cast<std::size_t>(config().levels));
        for (const LatentLevel& level : glow::latent_levels(config()))
            levels[level.level] = {0, level.shape.H, level.shape.W, level.shape.C};
        for (std::size_t l = 1; l < levels.size(); ++l)
            levels[l].offset = levels[l - 1].offset + size_of(levels[l - 1]);
        return levels;
    }
    static index_t size_of(const LevelLatents& level) { return level.height * level.width * level.channels; }

    // Calls f(first, count, arrays of the levels of these images) for each pass over N images.
    template <class F>
    void for_each_pass(index_t N, F f) {
        std::vector<std::vector<double>> arrays;
        const index_t most = std::min(N, session.capacity());
        for (const LevelLatents& level : levels())
            arrays.emplace_back(static_cast<std::size_t>(most * size_of(level)));
        for (index_t first = 0; first < N; first += most) f(first, std::min(most, N - first), arrays);
    }

    std::vector<double> log_density_map(const PixelArray& images, std::uint64_t seed) {
        const ImageSize size = density_map_size(config());
        std::vector<double> result(static_cast<std::size_t>(images.N * size.H * size.W));
        session.log_density_map(images, seed, result.data());
        return result;
    }

    std::vector<std::uint8_t> sample(index_t N, const SampleOptions& options, ImageProblems* problems,
                                     std::vector<double>* log_prob) {
        if (N < 1) throw InputError(fmt::format("sample: N must be at least 1, got {}", N));
        check_labels(config(), N, options.labels);
        if (N > (index_t{1} << 52) / config().dimensions())
            throw InputError(fmt::format("sample: {} samples do not fit in any memory", N));
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(N * config().dimensions()));
        std::vector<double> largest(static_cast<std::size_t>(N)), densities;
        if (log_prob != nullptr) densities.resize(static_cast<std::size_t>(N));
        session.sample(
            {N, options.temperature, options.seed, options.labels.empty() ? nullptr : options.labels.data()},
            pixels.data(), largest.data(), densities.empty() ? nullptr : densities.data());
        if (problems != nullptr) *problems = problems_of(largest);
        if (log_prob != nullptr) *log_prob = std::move(densities);
        return pixels;
    }

    std::vector<double> encode(const PixelArray& images) {
        const index_t D = config().dimensions();
        const std::vector<LevelLatents> places = levels();
        std::vector<double> result(static_cast<std::size_t>(images.N * D));
        for_each_pass(images.N, [&](index_t first, index_t count, auto& arrays) {
            std::vector<double*> values;
            for (auto& array : arrays) values.push_back(array.data());
            session.encode(images.slice(first, count, D), values);
            for (std::size_t l = 0; l < places.size(); ++l)
                for (index_t n = 0, size = size_of(places[l]); n < count; ++n)
                    std::copy_n(values[l] + n * size, size, &result[(first + n) * D + places[l].offset]);
        });
        return result;
    }

    std::vector<float> encode_gradient(const PixelArray& images, ArrayView<double> latent_gradient) {
        const index_t D = config().dimensions();
        if (static_cast<index_t>(latent_gradient.size()) != images.N * D)
            throw InputError(fmt::format("encode_gradient: got {} values for the latents, expected {}",
                                         latent_gradient.size(), images.N * D));
        const std::vector<LevelLatents> places = levels();
        std::vector<float> result(static_cast<std::size_t>(images.N * D));
        for_each_pass(images.N, [&](index_t first, index_t count, auto& arrays) {
            session.encode_gradient(images.slice(first, count, D),
                                    levels_of(latent_gradient.data() + first * D, count, places, arrays),
                                    &result[first * D]);
        });
        return result;
    }

    // Sets `arrays` to the levels of latents [count, D], and returns their addresses.
    std::vector<const double*> levels_of(const double* latents, index_t count,
                                         const std::vector<LevelLatents>& places,
                                         std::vector<std::vector<double>>& arrays) {
        const index_t D = config().dimensions();
        std::vector<const double*> values;
        for (std::size_t l = 0; l < places.size(); ++l) {
            for (index_t n = 0, size = size_of(places[l]); n < count; ++n)
                std::copy_n(latents + n * D + places[l].offset, size, &arrays[l][n * size]);
            values.push_back(arrays[l].data());
        }
        return values;
    }

    std::vector<std::uint8_t> decode(ArrayView<double> latents, ArrayView<std::int32_t> labels,
                                     ImageProblems* problems) {
        const index_t D = config().dimensions(), N = static_cast<index_t>(latents.size()) / D;
        if (N < 1 || N * D != static_cast<index_t>(latents.size()))
            throw InputError(
                fmt::format("decode: got {} values, expected a multiple of {} (the latents of one image)",
                            latents.size(), D));
        check_labels(config(), N, labels.data(), labels.size());
        const std::vector<LevelLatents> places = levels();
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(N * D));
        std::vector<double> largest(static_cast<std::size_t>(N));
        for_each_pass(N, [&](index_t first, index_t count, auto& arrays) {
            session.decode(count, levels_of(latents.data() + first * D, count, places, arrays),
                           labels.empty() ? nullptr : labels.data() + first, pixels.data() + first * D,
                           largest.data() + first);
        });
        if (problems != nullptr) *problems = problems_of(largest);
        return pixels;
    }

    ModelSession session;
};

TrainedModel::TrainedModel(const std::string& checkpoint, const LoadOptions& options) {
    state_ = with_public_errors([&] { return std::make_unique<State>(checkpoint, options); });
}
TrainedModel::~TrainedModel() = default;
TrainedModel::TrainedModel(TrainedModel&&) noexcept = default;
TrainedModel& TrainedModel::operator=(TrainedModel&&) noexcept = default;

ModelShape TrainedModel::shape() const {
    return shape_of(state_->config());
}

ModelShape TrainedModel::trained_shape() const {
    return shape_of(state_->session.trained_config());
}

void TrainedModel::set_image_size(std::int64_t height, std::int64_t width) {
    run_on(state_->session, [&] { state_->session.set_image_size({height, width}); });
}

int TrainedModel::threads() const {
    return state_->session.threads();
}

std::vector<double> TrainedModel::bits_per_dim(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels,
                                               const NoiseOptions& noise) {
    return run_on(state_->session, [&] {
        return state_->bits_per_dim(numbered_array(state_->config(), images, labels, noise), noise);
    });
}

std::vector<double> TrainedModel::log_prob(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels,
                                           const NoiseOptions& noise) {
    std::vector<double> result = bits_per_dim(images, labels, noise);
    for (double& value : result) value *= -state_->config().nats_per_bit_dim();
    return result;
}

std::vector<double> TrainedModel::log_density_map(ArrayView<std::uint8_t> images,
                                                  ArrayView<std::int32_t> labels, const NoiseOptions& noise) {
    return run_on(state_->session, [&] {
        require_one_draw("log_density_map", noise);
        return state_->log_density_map(numbered_array(state_->config(), images, labels, noise), noise.seed);
    });
}

InputGradient TrainedModel::input_gradient(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels,
                                           const NoiseOptions& noise) {
    return run_on(state_->session, [&] {
        require_one_draw("input_gradient", noise);
        return state_->input_gradient(numbered_array(state_->config(), images, labels, noise), noise.seed);
    });
}

InputGradient TrainedModel::input_gradient(ArrayView<double> images, ArrayView<std::int32_t> labels) {
    return run_on(state_->session,
                  [&] { return state_->input_gradient(checked_array(state_->config(), images, labels), 0); });
}

std::vector<std::uint8_t> TrainedModel::sample(std::int64_t N, const SampleOptions& options,
                                               ImageProblems* problems, std::vector<double>* log_prob) {
    return run_on(state_->session, [&] { return state_->sample(N, options, problems, log_prob); });
}

std::vector<LevelLatents> TrainedModel::latent_levels() const {
    return state_->levels();
}

std::vector<double> TrainedModel::encode(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels) {
    return run_on(state_->session,
                  [&] { return state_->encode(checked_array(state_->config(), images, labels)); });
}

std::vector<double> TrainedModel::encode(ArrayView<double> images, ArrayView<std::int32_t> labels) {
    return run_on(state_->session,
                  [&] { return state_->encode(checked_array(state_->config(), images, labels)); });
}

std::vector<float> TrainedModel::encode_gradient(ArrayView<double> images, ArrayView<double> latent_gradient,
                                                 ArrayView<std::int32_t> labels) {
    return run_on(state_->session, [&] {
        return state_->encode_gradient(checked_array(state_->config(), images, labels), latent_gradient);
    });
}

std::vector<std::uint8_t> TrainedModel::decode(ArrayView<double> latents, ArrayView<std::int32_t> labels,
                                               ImageProblems* problems) {
    return run_on(state_->session, [&] { return state_->decode(latents, labels, problems); });
}

}  // namespace glow
