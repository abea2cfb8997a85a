#include "inference/likelihood.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "inference/evaluate.h"
#include "kernels/error.h"

namespace glow {
namespace {

// Running log((1/S) sum exp(x)).
class LogMeanExp {
  public:
    void add(double x) {
        if (x > largest_) {
            sum_ = sum_ * std::exp(largest_ - x) + 1;
            largest_ = x;
        } else {
            sum_ += std::exp(x - largest_);
        }
        ++count_;
    }
    double value() const { return largest_ + std::log(sum_ / static_cast<double>(count_)); }

  private:
    double largest_ = -std::numeric_limits<double>::infinity(), sum_ = 0;
    index_t count_ = 0;
};

// Averages the bounds of N images over draws that arrive one after another, in bits/dim.
class BoundAverager {
  public:
    BoundAverager(const ModelConfig& config, const LikelihoodRequest& request, std::size_t N)
        : config_(config), request_(request), terms_(N), bits_(N, 0.0) {}

    index_t draws() const { return request_.dequant_samples * request_.iw_samples; }
    // log_density(i): of image i with the next draw of noise.
    template <class LogDensity>
    void add_draw(LogDensity log_density) {
        const bool completes_bound = ++added_ % request_.iw_samples == 0;
        for (std::size_t i = 0; i < bits_.size(); ++i) {
            terms_[i].add(log_density(i));
            if (!completes_bound) continue;
            bits_[i] +=
                config_.bits_per_dim(terms_[i].value()) / static_cast<double>(request_.dequant_samples);
            terms_[i] = {};
        }
    }
    std::vector<double> bits_per_dim() && { return std::move(bits_); }

  private:
    const ModelConfig& config_;
    const LikelihoodRequest& request_;
    std::vector<LogMeanExp> terms_;  // of the current bound
    std::vector<double> bits_;
    index_t added_ = 0;
};

}  // namespace

void check_draws(const LikelihoodRequest& request) {
    constexpr index_t most = index_t{1} << 20;
    const index_t bounds = request.dequant_samples, draws = request.iw_samples;
    if (bounds < 1 || draws < 1 || bounds > most || draws > most / bounds)
        throw InputError("dequant_samples and iw_samples must be at least 1, and their product at most 2^20");
}

Noise noise_of(LoadedModel& model, const LikelihoodRequest& request) {
    Noise noise = evaluation_noise(model.glow().config(), request.seed);
    noise.kind = request.dequant.value_or(noise.kind);
    if (noise.kind == Dequantization::variational && !model.glow().has_dequantizer())
        throw InputError("--dequant variational: the model was trained without it");
    return noise;
}

Likelihoods likelihoods(LoadedModel& model, const SplitImages& images, const LikelihoodRequest& request) {
    const ModelConfig& config = model.glow().config();
    const bool classifies = model.glow().has_classifier();
    const auto N = static_cast<std::size_t>(images.N());
    BoundAverager bounds(config, request, N);
    const index_t draws = bounds.draws();
    const Noise noise = noise_of(model, request);
    const bool variational = noise.kind == Dequantization::variational;
    Likelihoods result;
    if (classifies) {
        result.bits_y.assign(N, 0.0);
        result.error_y.assign(N, 0.0);
    }
    std::vector<double> logdet(N), prior(N), bits_y(N), error_y(N), minus_log_q(N);
    Communicator& processes = model.context().communicator;
    const Slice mine = processes.slice(images.N());
    const auto gather = [&](std::vector<double>& values) {
        processes.all_gather_slices(images.N(), sizeof(double), values.data());
    };
    for (index_t draw = 0; draw < draws; ++draw) {
        evaluate_split(
            model.runnable(), images, mine, noise, static_cast<std::uint64_t>(draw),
            {nullptr, logdet.data(), prior.data(), bits_y.data(), error_y.data(), minus_log_q.data()},
            [&](index_t done) {
                if (request.progress)
                    request.progress(draw * images.N() + done * images.N() / mine.count, draws * images.N());
            });
        gather(logdet);
        gather(prior);
        if (classifies) gather(bits_y);
        if (classifies) gather(error_y);
        if (variational) gather(minus_log_q);
        const double share = 1.0 / static_cast<double>(draws);
        for (std::size_t i = 0; i < N; ++i) {
            if (!std::isfinite(logdet[i] + prior[i]))
                throw Error(
                    fmt::format("the likelihood of image {} is not finite: the run may have diverged", i));
            result.logdet += logdet[i] * share / static_cast<double>(N);
            result.prior += prior[i] * share / static_cast<double>(N);
            result.minus_log_q += minus_log_q[i] * share / static_cast<double>(N);
            if (!classifies) continue;
            result.bits_y[i] += bits_y[i] * share;
            result.error_y[i] += error_y[i] * share;
        }
        bounds.add_draw([&](std::size_t i) { return logdet[i] + prior[i]; });
    }
    result.bits_per_dim = std::move(bounds).bits_per_dim();
    return result;
}

std::vector<double> bits_per_dim(const RunnableModel& model, const PixelArray& images,
                                 const LikelihoodRequest& request) {
    std::vector<double> log_density(static_cast<std::size_t>(images.N));
    BoundAverager bounds(model.glow.config(), request, log_density.size());
    for (index_t draw = 0; draw < bounds.draws(); ++draw) {
        log_densities(model, images, request.seed, static_cast<std::uint64_t>(draw), log_density.data());
        bounds.add_draw([&](std::size_t i) { return log_density[i]; });
        if (request.progress) request.progress((draw + 1) * images.N, bounds.draws() * images.N);
    }
    return std::move(bounds).bits_per_dim();
}

Breakdown break_down(LoadedModel& model, const Likelihoods& likelihoods) {
    const ModelConfig& config = model.glow().config();
    const Glow::ConstantLogdets constant = model.glow().constant_logdets(model.context());
    const auto bits = [&](double nats) { return -nats / config.nats_per_bit_dim(); };
    return {static_cast<double>(config.n_bits),
            bits(likelihoods.prior),
            bits(constant.actnorm),
            bits(constant.mixing),
            bits(likelihoods.logdet - likelihoods.minus_log_q - constant.actnorm - constant.mixing),
            bits(likelihoods.minus_log_q)};
}

}  // namespace glow
