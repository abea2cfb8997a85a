#include "kernels/for_each.cuh"
#include "kernels/gaussian_math.h"
#include "kernels/philox.h"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

struct LogDensity {
    static constexpr const char* name = "gaussian_log_density";
    static constexpr bool kMaximum = false;
    GaussianView at;
    const real* mean;
    const real* logs;
    const state_t* z;
    GLOW_HD double operator()(index_t n, index_t row, index_t c) const {
        const index_t p = at.parameter(n, row, c);
        return gaussian_log_density_of(z[at.z(n, row, c)], mean[p], logs[p]);
    }
};

struct AddToLogp {
    double* logp;
    GLOW_HD void operator()(index_t n, double sum) const { logp[n] += sum; }
};

struct Encode {
    static constexpr const char* name = "gaussian_encode";
    GaussianView at;
    const real* mean;
    const real* logs;
    state_t* z;
    GLOW_HD void operator()(index_t n, index_t row, index_t c) const {
        const index_t p = at.parameter(n, row, c);
        state_t& value = z[at.z(n, row, c)];
        value = (value - mean[p]) * exp_of(-static_cast<double>(logs[p]));
    }
};

struct Decode {
    static constexpr const char* name = "gaussian_decode";
    GaussianView at;
    const real* mean;
    const real* logs;
    state_t* z;
    GLOW_HD void operator()(index_t n, index_t row, index_t c) const {
        const index_t p = at.parameter(n, row, c);
        state_t& value = z[at.z(n, row, c)];
        value = mean[p] + exp_of(static_cast<double>(logs[p])) * value;
    }
};

// d log N / dz = -eps / sigma, d / dmean = eps / sigma, d / dlogs = eps^2 - 1.
struct BackwardLatent {
    static constexpr const char* name = "gaussian_backward_latent";
    GaussianView at;
    const real* mean;
    const real* logs;
    const state_t* z;
    double dlogp;
    real* dz;
    GLOW_HD void operator()(index_t n, index_t row, index_t c) const {
        const index_t p = at.parameter(n, row, c);
        const double inverse_sigma = exp_of(-static_cast<double>(logs[p]));
        const double eps = (z[at.z(n, row, c)] - mean[p]) * inverse_sigma;
        dz[at.z(n, row, c)] = static_cast<real>(-dlogp * eps * inverse_sigma);
    }
};

// One thread per parameter: per image, or summed over all images if the map is shared.
struct BackwardParameters {
    static constexpr const char* name = "gaussian_backward_parameters";
    GaussianView at;
    const real* mean;
    const real* logs;
    const state_t* z;
    double dlogp;
    real* dmean;
    real* dlogs;
    GLOW_HD void operator()(index_t n, index_t row, index_t c) const {
        const index_t p = at.parameter(n, row, c);
        const double inverse_sigma = exp_of(-static_cast<double>(logs[p]));
        const index_t sharing = at.layout.per_image ? 1 : at.latents.N;
        double sum_mean = 0, sum_logs = 0;
        for (index_t i = 0; i < sharing; ++i) {
            const double eps = (z[at.z(n + i, row, c)] - mean[p]) * inverse_sigma;
            sum_mean += eps;
            sum_logs += eps * eps - 1.0;
        }
        dmean[p] = static_cast<real>(dlogp * inverse_sigma * sum_mean);
        dlogs[p] = static_cast<real>(dlogp * sum_logs);
    }
};

// eps = (z - mean) / sigma: deps / dz = 1 / sigma, deps / dmean = -1 / sigma, deps / dlogs = -eps.
struct EncodeBackward {
    static constexpr const char* name = "gaussian_encode_backward";
    GaussianView at;
    const real* mean;
    const real* logs;
    const state_t* z;
    real* dz;
    real* dmean;
    real* dlogs;
    GLOW_HD void operator()(index_t n, index_t row, index_t c) const {
        const index_t p = at.parameter(n, row, c), i = at.z(n, row, c);
        const double inverse_sigma = exp_of(-static_cast<double>(logs[p]));
        const double eps = (z[i] - mean[p]) * inverse_sigma, deps = dz[i];
        dz[i] = static_cast<real>(deps * inverse_sigma);
        if (dmean == nullptr) return;
        dmean[p] = static_cast<real>(-deps * inverse_sigma);
        dlogs[p] = static_cast<real>(-deps * eps);
    }
};

struct Noise {
    static constexpr const char* name = "gaussian_noise";
    index_t count;  // numbers per image
    std::uint64_t seed, item0, first;
    double temperature;
    state_t* z;
    GLOW_HD void operator()(index_t n, index_t block) const {
        const PhiloxWords words = philox_block(seed, Purpose::sample, item0 + static_cast<std::uint64_t>(n),
                                               first + static_cast<std::uint64_t>(block));
        for (int pair = 0; pair < 2; ++pair) {
            const NormalPair normal = philox_normal(words.word[2 * pair], words.word[2 * pair + 1]);
            const index_t i = block * 4 + 2 * pair;
            if (i < count) z[n * count + i] = temperature * normal.first;
            if (i + 1 < count) z[n * count + i + 1] = temperature * normal.second;
        }
    }
};

}  // namespace

void gaussian_log_density(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                          const state_t* z, double* logp, double* partial) {
    reduce_groups(exec, latents.N, latents.rows, latents.C, partial,
                  LogDensity{{latents, gaussian.layout}, gaussian.mean, gaussian.logs, z}, AddToLogp{logp});
}

void gaussian_encode(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian, state_t* z) {
    for_each_group(exec, latents.N, latents.rows, latents.C,
                   Encode{{latents, gaussian.layout}, gaussian.mean, gaussian.logs, z});
}

void gaussian_decode(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian, state_t* z) {
    for_each_group(exec, latents.N, latents.rows, latents.C,
                   Decode{{latents, gaussian.layout}, gaussian.mean, gaussian.logs, z});
}

void gaussian_backward(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                       const state_t* z, double dlogp, real* dz, real* dmean, real* dlogs) {
    const auto& [layout, mean, logs] = gaussian;
    const GaussianView at{latents, layout};
    for_each_group(exec, latents.N, latents.rows, latents.C, BackwardLatent{at, mean, logs, z, dlogp, dz});
    for_each_group(exec, layout.per_image ? latents.N : 1, latents.rows, latents.C,
                   BackwardParameters{at, mean, logs, z, dlogp, dmean, dlogs});
}

void gaussian_encode_backward(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                              const state_t* z, real* dz, real* dmean, real* dlogs) {
    for_each_group(
        exec, latents.N, latents.rows, latents.C,
        EncodeBackward{{latents, gaussian.layout}, gaussian.mean, gaussian.logs, z, dz, dmean, dlogs});
}

void gaussian_noise(const Exec& exec, const LatentShape& latents, std::uint64_t seed, std::uint64_t item0,
                    std::uint64_t first, double temperature, state_t* z) {
    const index_t count = latents.rows * latents.C;
    for_each_row_channel(exec, latents.N, (count + 3) / 4, Noise{count, seed, item0, first, temperature, z});
}

}  // namespace glow::inline GLOW_REAL
