// One thread adds all terms of a pixel or block, so their order is fixed.
#include "kernels/coupling_math.h"
#include "kernels/density_map.h"
#include "kernels/for_each.cuh"
#include "kernels/gaussian_math.h"

namespace glow::inline GLOW_REAL {
namespace {

template <CouplingScale kScale>
struct AffineForwardByPixel {
    static constexpr const char* name = "affine_coupling_forward_by_pixel";
    index_t C;
    const real* out;
    state_t* h;
    double* logdet;
    GLOW_HD void operator()(index_t row, index_t) const {
        double sum = 0;
        for (index_t c = 0; c < C / 2; ++c)
            sum += affine_forward<kScale>(out + row * C + 2 * c, h[row * C + C / 2 + c]);
        logdet[row] += sum;
    }
};

struct LogDensityByPixel {
    static constexpr const char* name = "gaussian_log_density_by_pixel";
    GaussianView at;
    const real* mean;
    const real* logs;
    const state_t* z;
    double* logp;
    GLOW_HD void operator()(index_t n, index_t row) const {
        double sum = 0;
        for (index_t c = 0; c < at.latents.C; ++c) {
            const index_t p = at.parameter(n, row, c);
            sum += gaussian_log_density_of(z[at.z(n, row, c)], mean[p], logs[p]);
        }
        logp[n * at.latents.rows + row] += sum;
    }
};

struct AddBlockSums {
    static constexpr const char* name = "add_block_sums";
    index_t columns, factor;
    const double* fine;
    double* coarse;
    GLOW_HD void operator()(index_t row, index_t column) const {
        double sum = 0;
        for (index_t y = 0; y < factor; ++y)
            for (index_t x = 0; x < factor; ++x)
                sum += fine[((row * factor + y) * columns + column) * factor + x];
        coarse[row * columns + column] += sum;
    }
};

}  // namespace

void affine_coupling_forward_by_pixel(const Exec& exec, index_t rows, index_t C, const AffineOutput& output,
                                      state_t* h, double* logdet) {
    with_scale(output.scale, [&]<CouplingScale kScale>() {
        for_each_row_channel(exec, rows, 1, AffineForwardByPixel<kScale>{C, output.out, h, logdet});
    });
}

void gaussian_log_density_by_pixel(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                                   const state_t* z, double* logp) {
    for_each_row_channel(
        exec, latents.N, latents.rows,
        LogDensityByPixel{{latents, gaussian.layout}, gaussian.mean, gaussian.logs, z, logp});
}

void add_block_sums(const Exec& exec, index_t rows, index_t columns, index_t factor, const double* fine,
                    double* coarse) {
    for_each_row_channel(exec, rows, columns, AddBlockSums{columns, factor, fine, coarse});
}

}  // namespace glow::inline GLOW_REAL
