// Batches through the model, and vector arithmetic.
#include "inference/latent_images.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "inference/flow_buffers.h"
#include "inference/image_arrays.h"
#include "inference/sample.h"
#include "kernels/error.h"
#include "runtime/device.h"

namespace glow {

void encode_images(LoadedModel& model, index_t N, const std::uint8_t* pixels, const std::int32_t* labels,
                   state_t* eps) {
    Flow flow = load_flow(model.runnable(), {.N = N, .values = pixels, .labels = labels}, 0, N,
                          {.kind = Dequantization::center});
    model.glow().encode(model.context(), flow);
    download(model.context().exec, N * model.config().dimensions(), flow.h, eps);
}

void decode_images(LoadedModel& model, const Flow& latents, std::uint8_t* pixels, double* largest) {
    const ModelConfig& config = model.glow().config();
    const Exec& exec = model.context().exec;
    const FlowBuffers& buffers = model.buffers();
    Flow flow = buffers.flow(latents.N, buffers.labels_to_device(exec, latents.N, latents.labels));
    upload(exec, latents.N * config.dimensions(), latents.h, flow.h);
    model.glow().decode(model.context(), flow);
    download_images(model.runnable(), flow, pixels, largest);
}

std::vector<Latent> encode_all(LoadedModel& model, const ImageSet& set) {
    const index_t D = model.glow().config().dimensions();
    const std::vector<LatentLevel> levels = latent_levels(model.glow().config());
    std::vector<Latent> latents(static_cast<std::size_t>(set.N), Latent(static_cast<std::size_t>(D)));
    std::vector<state_t> eps;
    model.buffers().for_each_pass(set.N, [&](index_t first, index_t count) {
        eps.resize(static_cast<std::size_t>(count * D));
        encode_images(model, count, set.image(first),
                      set.labels.empty() ? nullptr : set.labels.data() + first, eps.data());
        for (const LatentLevel& level : levels)
            for (index_t n = 0; n < count; ++n)
                std::copy_n(&eps[count * level.offset + n * level.shape.size()], level.shape.size(),
                            &latents[first + n][level.offset]);
    });
    return latents;
}

std::vector<std::uint8_t> decode_all(LoadedModel& model, const std::vector<Latent>& latents,
                                     const std::vector<std::int32_t>& labels, std::vector<double>* largest,
                                     const std::function<void(index_t done)>& progress) {
    const index_t D = model.glow().config().dimensions(), N = std::ssize(latents);
    if (largest != nullptr) largest->resize(latents.size());
    const std::vector<LatentLevel> levels = latent_levels(model.glow().config());
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(N * D));
    std::vector<state_t> eps;
    model.buffers().for_each_pass(N, [&](index_t first, index_t count) {
        eps.resize(static_cast<std::size_t>(count * D));
        for (const LatentLevel& level : levels)
            for (index_t n = 0; n < count; ++n)
                std::copy_n(&latents[first + n][level.offset], level.shape.size(),
                            &eps[count * level.offset + n * level.shape.size()]);
        Flow flow;
        flow.N = count;
        flow.h = eps.data();
        flow.labels = labels.empty() ? nullptr : labels.data() + first;
        decode_images(model, flow, pixels.data() + first * D,
                      largest != nullptr ? largest->data() + first : nullptr);
        if (progress) progress(first + count);
    });
    return pixels;
}

Latent between_linear(const Latent& a, const Latent& b, double t) {
    Latent result(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) result[i] = (1 - t) * a[i] + t * b[i];
    return result;
}

Latent between_spherical(const Latent& a, const Latent& b, double t) {
    const auto dot = [](const Latent& x, const Latent& y) {
        return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
    };
    const double length_a = std::sqrt(dot(a, a)), length_b = std::sqrt(dot(b, b));
    const double cosine = std::clamp(dot(a, b) / (length_a * length_b), -1.0, 1.0);
    const double angle = std::acos(cosine), sine = std::sin(angle);
    if (!(sine > 1e-6))
        return between_linear(a, b, t);  // parallel or opposite: the great circle is not unique
    // Interpolates the directions, then the length.
    const double weight_a = std::sin((1 - t) * angle) / sine / length_a,
                 weight_b = std::sin(t * angle) / sine / length_b, length = (1 - t) * length_a + t * length_b;
    Latent result(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) result[i] = length * (weight_a * a[i] + weight_b * b[i]);
    return result;
}

void scale_levels(const ModelConfig& model, const std::vector<double>& factors, Latent& latent) {
    for (const LatentLevel& level : latent_levels(model))
        for (index_t i = level.offset; i < level.offset + level.shape.size(); ++i)
            latent[i] *= factors[level.level];
}

void take_level(const ModelConfig& model, index_t level, const Latent& from, Latent& latent) {
    for (const LatentLevel& each : latent_levels(model))
        if (each.level == level)
            std::copy_n(from.begin() + each.offset, each.shape.size(), latent.begin() + each.offset);
}

Direction::Direction(index_t D) : sums_(2, Latent(static_cast<std::size_t>(D), 0.0)), counts_(2, 0) {}

void Direction::add(const Latent& latent, bool has) {
    for (std::size_t i = 0; i < latent.size(); ++i) sums_[has][i] += latent[i];
    ++counts_[has];
}

Latent Direction::mean_difference() const {
    if (with() == 0 || without() == 0)
        throw InputError("a direction needs images with the attribute and images without it");
    Latent result(sums_[0].size());
    double largest = 0, apart = 0;
    for (std::size_t i = 0; i < result.size(); ++i) {
        const double a = sums_[1][i] / static_cast<double>(with()),
                     b = sums_[0][i] / static_cast<double>(without());
        result[i] = a - b;
        if (!std::isfinite(result[i]))
            throw InputError("the images have latents that are not finite: the run may have diverged");
        largest = std::max({largest, std::fabs(a), std::fabs(b)});
        apart = std::max(apart, std::fabs(result[i]));
    }
    constexpr double kRounding = 1e-12;  // of sums of equal latents
    if (apart <= kRounding * largest)
        throw InputError(
            "the images with the attribute and those without it do not differ: their mean latents are equal");
    return result;
}

Latent linear_direction(const std::vector<float>& latents, index_t D, const std::vector<std::uint8_t>& has,
                        double ridge) {
    const index_t N = std::ssize(has);
    Direction means(D);
    Latent x(static_cast<std::size_t>(D));
    for (index_t n = 0; n < N; ++n) {
        std::copy_n(&latents[n * D], D, x.begin());
        means.add(x, has[n] != 0);
    }
    const Latent apart = means.mean_difference();  // refuses empty groups and equal means
    // Both groups have equal weight, so after centering at the midpoint of the two means the best b is 0.
    const double weight[2] = {0.5 / static_cast<double>(means.without()),
                              0.5 / static_cast<double>(means.with())};
    Latent middle(static_cast<std::size_t>(D), 0.0);
    for (index_t n = 0; n < N; ++n)
        for (index_t i = 0; i < D; ++i) middle[i] += weight[has[n]] * latents[n * D + i];

    // (X^T V X + ridge) w = X^T V y, X centered, V the weights; X^T V y = (mean with - mean without) / 2.
    const auto multiply = [&](const Latent& w) {
        Latent out(static_cast<std::size_t>(D));
        for (index_t i = 0; i < D; ++i) out[i] = ridge * w[i];
        const double offset = std::inner_product(middle.begin(), middle.end(), w.begin(), 0.0);
        for (index_t n = 0; n < N; ++n) {
            const float* const row = &latents[n * D];
            double score = -offset;
            for (index_t i = 0; i < D; ++i) score += row[i] * w[i];
            score *= weight[has[n]];
            for (index_t i = 0; i < D; ++i) out[i] += score * (row[i] - middle[i]);
        }
        return out;
    };
    const auto dot = [](const Latent& a, const Latent& b) {
        return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
    };
    Latent w(static_cast<std::size_t>(D), 0.0), residual = apart;
    for (double& value : residual) value *= 0.5;
    Latent p = residual;
    double norm = dot(residual, residual);
    const double enough = 1e-10 * norm;
    for (int iteration = 0; iteration < 200 && norm > enough; ++iteration) {
        const Latent Ap = multiply(p);
        const double step = norm / dot(p, Ap);
        for (index_t i = 0; i < D; ++i) {
            w[i] += step * p[i];
            residual[i] -= step * Ap[i];
        }
        const double next = dot(residual, residual);
        for (index_t i = 0; i < D; ++i) p[i] = residual[i] + next / norm * p[i];
        norm = next;
    }
    const double scale = dot(w, apart) / dot(w, w);
    for (double& value : w) value *= scale;
    return w;
}

}  // namespace glow
