// Reduction drivers: the number of partial sums is fixed, so results do not depend on threads. Nothing runs
// on Device::count_only.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "kernels/actnorm_init.h"
#include "kernels/convolution.h"
#include "kernels/coupling.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/flat_sums.h"
#include "kernels/gaussian.h"
#include "kernels/mixing.h"
#include "kernels/mixing_gradient.h"
#include "kernels/mixing_values.h"
#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

template <class F>
void expect_same_for_all_thread_counts(F run) {
    const auto one = run(test::cpu(1));
    for (const int threads : {2, 3, 7}) {
        const auto several = run(test::cpu(threads));
        ASSERT_EQ(one.size(), several.size());
        EXPECT_EQ(std::memcmp(one.data(), several.data(), one.size() * sizeof one[0]), 0)
            << threads << " threads";
    }
}

TEST(Reductions, ColumnSumsDoNotDependOnThreads) {
    for (const index_t rows : {1, 63, 64, 65, 5000}) {
        const index_t C = 17;
        const std::vector<double> x = test::Random(1).normals(rows * C);
        expect_same_for_all_thread_counts([&](const Exec& exec) {
            std::vector<double> moments(2 * C, 0.0), partial(column_scratch(2, C));
            add_moments(exec, rows, C, x.data(), C, moments.data(), partial.data());
            return moments;
        });
    }
}

TEST(Reductions, ColumnSumsMatch) {
    for (const index_t rows : {1, 63, 64, 65, 5000}) {
        const index_t C = 3;
        const std::vector<double> x = test::Random(2).integers<double>(rows * C);
        std::vector<double> moments(2 * C, 0.0), expected(2 * C, 0.0), partial(column_scratch(2, C));
        add_moments(test::cpu(), rows, C, x.data(), C, moments.data(), partial.data());
        for (index_t i = 0; i < rows * C; ++i) {
            expected[i % C] += x[i];
            expected[C + i % C] += x[i] * x[i];
        }
        EXPECT_EQ(moments, expected);
    }
}

TEST(Reductions, GroupSumsDoNotDependOnThreads) {
    const LatentShape latents{5, 100, 7, 7};
    const std::vector<double> z = test::Random(3).normals(5 * 100 * 7);
    const std::vector<real> parameters = test::Random(4).normals<real>(5 * 100 * 14, 0.3);
    expect_same_for_all_thread_counts([&](const Exec& exec) {
        std::vector<double> logp(5, 0.0), partial(group_scratch(5));
        gaussian_log_density(exec, latents,
                             {interleaved_gaussian(7), parameters.data(), parameters.data() + 1}, z.data(),
                             logp.data(), partial.data());
        return logp;
    });
    const std::vector<real> x = test::Random(5).normals<real>(100003);
    expect_same_for_all_thread_counts([&](const Exec& exec) {
        std::vector<double> result(1), partial(square_scratch());
        sum_of_squares(exec, 100003, x.data(), result.data(), partial.data());
        return result;
    });
}

// From one row to many, with channels that fill a vector or do not: every element is added once.
TEST(Reductions, GroupSumsMatch) {
    for (const index_t rows : {1, 15, 16, 17, 64, 100, 1100})
        for (const index_t C : {1, 5, 40}) {
            const LatentShape latents{2, rows, C, C};
            const std::vector<double> z = test::Random(8).normals(2 * rows * C);
            const std::vector<real> parameters(2 * rows * C * 2, real{0});  // standard normal
            std::vector<double> logp(2, 0.0), partial(group_scratch(2));
            gaussian_log_density(test::cpu(), latents,
                                 {interleaved_gaussian(C), parameters.data(), parameters.data() + 1},
                                 z.data(), logp.data(), partial.data());
            for (index_t n = 0; n < 2; ++n) {
                double expected = 0;
                for (index_t i = n * rows * C; i < (n + 1) * rows * C; ++i)
                    expected -= 0.5 * (std::log(2 * M_PI) + z[i] * z[i]);
                EXPECT_NEAR(logp[n], expected, 1e-13 * std::abs(expected)) << rows << " rows, " << C;
            }
        }
}

TEST(Reductions, GroupSumsAreIndependent) {
    const std::vector<double> z = test::Random(6).normals(4 * 30 * 5);
    const std::vector<real> parameters = test::Random(7).normals<real>(30 * 10, 0.3);
    const auto density = [&](index_t first, index_t N) {
        std::vector<double> logp(N, 0.0), partial(group_scratch(N));
        gaussian_log_density(test::cpu(), {N, 30, 5, 5},
                             {shared_gaussian(5), parameters.data(), parameters.data() + 5},
                             z.data() + first * 150, logp.data(), partial.data());
        return logp;
    };
    const std::vector<double> all = density(0, 4);
    for (index_t n = 0; n < 4; ++n) EXPECT_EQ(density(n, 1)[0], all[n]);
}

TEST(Reductions, RowProductsDoNotDependOnThreads) {
    const index_t rows = 1001, C = 12;
    const std::vector<double> M = test::Random(8).normals(C * C), shift = test::Random(9).normals(C),
                              x = test::Random(10).normals(rows * C);
    expect_same_for_all_thread_counts([&](const Exec& exec) {
        std::vector<double> h = x;
        affine_rows(exec, rows, C, M.data(), shift.data(), h.data());
        return h;
    });
}

void run_nothing(const Exec& none) {
    double* const nowhere = reinterpret_cast<double*>(64);  // address as returned by a counting arena
    real* const nothing = reinterpret_cast<real*>(64);
    fill(none, 1000, 1.0, nowhere);
    copy(none, 1000, nowhere, nowhere);
    affine_rows(none, 100, 4, nowhere, nowhere, nowhere);
    add_moments(none, 100, 4, nowhere, 4, nowhere, nowhere);
    affine_coupling_forward(none, 2, 50, 4, {CouplingScale::sigmoid, nothing}, nowhere, nowhere, nowhere);
    im2col(none, {4, 4, 0, 8}, {2, true, true, 32}, Taps::direct, nowhere, 4, nothing);
    col2im(none, {4, 4, 0, 8}, {2, true, true, 32}, Taps::mirrored, nothing, nothing, 4);
    sum_of_squares(none, 1000, nothing, nowhere, nowhere);
    mixing_backward(none, 4, {100, nowhere, nullptr, nothing}, {}, {nothing, nothing}, 1.0, {}, nothing);
}

TEST(Drivers, RunNothingWhenCounting) {
    for (const bool use_gpu_paths : {false, true})
        run_nothing({Device::count_only, 2, nullptr, use_gpu_paths});
}

class LaunchBytes : public LaunchObserver {
  public:
    void launch(const char* name, double bytes) override { this->bytes[name] += bytes; }
    std::map<std::string, double> bytes;
};

// Plain paths and a GPU's, which cut the work into tiles, state the same bytes.
TEST(Drivers, ReportBytesToObserver) {
    for (const bool use_gpu_paths : {false, true}) {
        LaunchBytes log;
        run_nothing({Device::count_only, 2, nullptr, use_gpu_paths, &log});
        EXPECT_EQ(log.bytes["fill"], 1000 * sizeof(double));
        EXPECT_EQ(log.bytes["copy"], 2 * 1000 * sizeof(double));
        EXPECT_EQ(log.bytes["affine_rows"], 2 * 100 * 4 * sizeof(state_t));
        EXPECT_EQ(log.bytes["col2im"], 8 * 4 * 2 * 11 * sizeof(real));
        if (!use_gpu_paths) continue;
        EXPECT_EQ(log.bytes["im2col_tile"], 32 * (2 * sizeof(state_t) + 32 * sizeof(real)));
        EXPECT_EQ(log.bytes["mixing_backward"], 100 * 4 * (2 * sizeof(state_t) + 2 * sizeof(real)));
    }
}

// The kernel with tiles computes offsets in 32 bits; another one takes larger images.
TEST(Drivers, Im2colOfVeryWideImagesHasAnotherKernel) {
    const state_t* const nowhere = reinterpret_cast<const state_t*>(64);
    const Columns layout{2, true, true, 32};
    for (const auto& [width, name] :
         {std::pair<index_t, const char*>{1 << 21, "im2col_tile"}, {(1 << 21) + 1, "im2col"}}) {
        LaunchBytes log;
        im2col({Device::count_only, 1, nullptr, true, &log}, {2, width, 0, 1}, layout, Taps::direct, nowhere,
               4, reinterpret_cast<real*>(64));
        EXPECT_EQ(log.bytes.count(name), 1u) << width;
    }
}

TEST(Drivers, RefuseMoreChannelsThanABlockHasThreadsFor) {
    const Exec gpu_paths{Device::cpu, 1, nullptr, true};
    EXPECT_THROW(affine_rows(gpu_paths, 1, 1537, nullptr, nullptr, nullptr), Error);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
