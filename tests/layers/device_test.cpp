// Compares the whole flow on a GPU with the CPU, for every model variant and precision. Without a GPU, a CPU
// runs the kernels and block sizes written for GPUs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/elementwise.h"
#include "tests/device_parity.h"
#include "tests/layers/fixture.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::Target;
using Numbers = std::vector<double>;

// Everything a model computes from a few images.
struct Outcome {
    Numbers latents, logdet, prior, bits_y, rebuilt, dx, gradient, eps, decoded;
    Numbers minus_log_q, numbers, difference;  // with a dequantizer: -log q, rebuilt normal numbers, drift
};

double norm(const Numbers& x) {
    double squares = 0;
    for (const double v : x) squares += v * v;
    return std::sqrt(squares);
}
// |x - y| / |y|.
double relative_error(const Numbers& x, const Numbers& y) {
    if (x.size() != y.size()) return HUGE_VAL;
    Numbers difference = x;
    for (std::size_t i = 0; i < y.size(); ++i) difference[i] -= y[i];
    return norm(y) > 0 ? norm(difference) / norm(y) : norm(difference);
}

// Products of bf16 on any CPU: converts to float and back.
class ConvertingBlas : public Blas {
  public:
    std::size_t scratch_bytes(const Gemm& gemm) override { return blas_->scratch_bytes(in_float(gemm)); }
    void run(const Gemm& g, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        if (g.in != Scalar::bf16) return blas_->run(g, a, b, c, data, scratch);
        const std::vector<float> left = widened(a, g.transpose_a ? g.k : g.m, g.lda),
                                 right = widened(b, g.transpose_b ? g.n : g.k, g.ldb);
        if (g.out != Scalar::bf16)
            return blas_->run(in_float(g), left.data(), right.data(), c, data, scratch);
        std::vector<float> result(static_cast<std::size_t>(g.m * g.ldc));
        blas_->run(in_float(g), left.data(), right.data(), result.data(), data, scratch);
        for (index_t i = 0; i < g.m; ++i)
            for (index_t j = 0; j < g.n; ++j)
                static_cast<bfloat16*>(c)[i * g.ldc + j] = round_to<bfloat16>(result[i * g.ldc + j]);
    }
    bool has_bf16() const override { return true; }
    bool has_tf32() const override { return false; }

  private:
    static Gemm in_float(Gemm gemm) {
        if (gemm.in == Scalar::bf16) gemm.in = gemm.out = Scalar::f32;
        return gemm;
    }
    static std::vector<float> widened(const void* values, index_t rows, index_t stride) {
        std::vector<float> wide;
        for (index_t i = 0; i < rows * stride; ++i)
            wide.push_back(widen(static_cast<const bfloat16*>(values)[i]));
        return wide;
    }
    std::unique_ptr<Blas> blas_ = make_cpu_blas(1);
};

struct Settings {
    // The networks of couplings and splits output 0, so that everything is computed in double.
    bool zero_networks = false;
    Engine engine = Engine::gemm;
    index_t tile = 0;          // if set, a CPU has products of bf16
    bool tensor_cores = true;  // our own kernels for them; a CPU runs plain loops instead
    LaunchObserver* observer = nullptr;
};

// A model with all arrays in device memory.
class DeviceModel {
  public:
    DeviceModel(const ModelConfig& config, index_t N, const Target& target, Precision precision,
                const Settings& settings = {})
        : backend_(target.device, 1, 0, nullptr, nullptr,
                   settings.tile > 0 && target.device == Device::cpu ? std::make_unique<ConvertingBlas>()
                                                                     : nullptr),
          arena_(target.device, Category::state, std::size_t{1} << 28),
          workspace_(target.device, Category::workspace, std::size_t{1} << 29),
          context_(backend_.context(workspace_)),
          glow_(config, {precision, settings.tile,
                         std::vector<Engine>(static_cast<std::size_t>(config.levels), settings.engine),
                         target.use_gpu_paths || target.device == Device::cuda}),
          N_(N),
          size_(N * config.dimensions()) {
        context_.exec.use_gpu_paths = target.use_gpu_paths;
        if (target.use_gpu_paths) {
            context_.blocking = kGpuBlocking;
            context_.exec.tensor_cores = true;
        }
        context_.exec.tensor_cores = context_.exec.tensor_cores && settings.tensor_cores;
        context_.exec.observer = settings.observer;
        const std::unique_ptr<Solver> solver = make_cpu_solver();
        Values values(glow_.parameters(), *solver, 3);
        if (settings.zero_networks)
            for (const Tensor& tensor : glow_.parameters().tensors())
                if (tensor.name.find("conv3/") != std::string::npos ||
                    tensor.name.find("split/") != std::string::npos)
                    std::fill_n(values.value.begin() + tensor.offset, tensor.count, real{0});
        Parameters& parameters = glow_.parameters();
        gradient_ = put(values.gradient);
        parameters.bind(put(values.value));
        parameters.bind_fixed(put(values.fixed));
        glow_.allocate(arena_);
        EXPECT_EQ(glow_.derive_and_check(context_).bad_layer, "");
        flow_.N = N;
        x_ = Random(7).normals(size_, 0.3);
        flow_.h = put(x_);
        flow_.logdet = put(Numbers(N, -1.0));
        flow_.prior = put(Numbers(N, -1.0));
        if (config.y_cond) {
            std::vector<std::int32_t> labels(N);
            for (index_t n = 0; n < N; ++n) labels[n] = static_cast<std::int32_t>(n % config.n_classes);
            flow_.labels = put(labels);
            flow_.bits_y = put(Numbers(N, 0.0));
            flow_.error_y = put(Numbers(N, 0.0));
        }
        dh_ = put(std::vector<real>(size_, real{1}));
        if (!glow_.has_dequantizer()) return;
        pixels_ = {N, config.dimensions(), 8, put(Random(8).integers<std::uint8_t>(size_, 0, 255))};
        noise_ = {Dequantization::variational, 3, Purpose::dequantize,
                  put(std::vector<std::uint64_t>{4, 5, 6, 1, 2})};
        buffers_ = {put(Numbers(N, -1.0)), put(Numbers(size_, -1.0))};
        difference_ = put(Numbers(N, -1.0));
    }

    Outcome run(const MemoryPolicy& policy = {}) {
        Outcome outcome;
        const Exec& exec = context_.exec;
        if (glow_.has_dequantizer()) {
            glow_.dequantize(context_, pixels_, noise_, flow_, buffers_);
            x_ = downloaded(exec, size_, flow_.h);
        } else {
            upload(exec, size_, x_.data(), flow_.h);
        }
        fill(exec, glow_.parameters().size(), real{0}, gradient_);
        {
            SavedActivations saved(arena_, policy);
            glow_.forward(context_, flow_, &saved);
            outcome.latents = downloaded(exec, size_, flow_.h);
            outcome.logdet = downloaded(exec, N_, flow_.logdet);
            outcome.prior = downloaded(exec, N_, flow_.prior);
            if (flow_.bits_y != nullptr) outcome.bits_y = downloaded(exec, N_, flow_.bits_y);
            Gradient gradient{dh_, -0.7, 0.2, {gradient_}};
            glow_.backward(context_, flow_, gradient, saved);
        }
        outcome.rebuilt = downloaded(exec, size_, flow_.h);
        outcome.dx = wide(downloaded(exec, size_, dh_));
        if (glow_.has_dequantizer()) run_backward_of_noise(outcome);
        outcome.gradient = wide(downloaded(exec, glow_.parameters().size(), gradient_));
        if (glow_.has_dequantizer()) upload(exec, size_, outcome.rebuilt.data(), flow_.h);
        glow_.encode(context_, flow_);
        outcome.eps = downloaded(exec, size_, flow_.h);
        glow_.decode(context_, flow_);
        outcome.decoded = downloaded(exec, size_, flow_.h);
        return outcome;
    }
    const Numbers& x() const { return x_; }

  private:
    struct WholeGradient : GradientHook {
        real* values;
        ParameterGradients begin(const ParameterBlock&) override { return {values}; }
        void complete(const ParameterBlock&) override {}
    };
    void run_backward_of_noise(Outcome& outcome) {
        WholeGradient hook;
        hook.values = gradient_;
        Gradient gradient{dh_, -0.7};
        glow_.backward_dequantizer(context_, pixels_, noise_, flow_, buffers_.logits, gradient, hook,
                                   difference_);
        outcome.minus_log_q = downloaded(context_.exec, N_, buffers_.minus_log_q);
        outcome.numbers = downloaded(context_.exec, size_, flow_.h);
        outcome.difference = downloaded(context_.exec, N_, difference_);
    }
    template <class T>
    T* put(const std::vector<T>& values) {
        T* const copy = arena_.take<T>(static_cast<index_t>(values.size()));
        upload(context_.exec, static_cast<index_t>(values.size()), values.data(), copy);
        return copy;
    }
    static Numbers wide(const std::vector<real>& x) { return {x.begin(), x.end()}; }

    Backend backend_;
    Arena arena_, workspace_;
    Context context_;
    Glow glow_;
    index_t N_, size_;
    Numbers x_;
    Flow flow_;
    real* gradient_;
    real* dh_;
    Pixels pixels_{};
    Noise noise_;
    Glow::VariationalBuffers buffers_;
    double* difference_ = nullptr;
};

struct Variant {
    const char* name;
    CouplingKind coupling;
    Permutation permutation;
    bool edge, learn_top, classes;
    index_t channels, width;
    CouplingScale scale = CouplingScale::sigmoid;
    bool dequantizer = false;
};
void PrintTo(const Variant& variant, std::ostream* out) {
    *out << variant.name;
}
const Variant kVariants[] = {
    {"published", CouplingKind::affine, Permutation::invconv, true, true, false, 3, 32},
    {"additive", CouplingKind::additive, Permutation::invconv, true, true, false, 3, 32},
    {"bounded_scale", CouplingKind::affine, Permutation::invconv, true, true, false, 3, 32,
     CouplingScale::tanh},
    {"lu", CouplingKind::affine, Permutation::invconv_lu, true, true, false, 3, 32},
    {"shuffle", CouplingKind::affine, Permutation::shuffle, true, true, false, 3, 32},
    {"reverse", CouplingKind::affine, Permutation::reverse, true, true, false, 3, 32},
    {"no_edges", CouplingKind::affine, Permutation::invconv, false, true, false, 3, 32},
    {"fixed_top", CouplingKind::affine, Permutation::invconv, true, false, false, 3, 32},
    {"classes", CouplingKind::additive, Permutation::invconv, true, true, true, 3, 32},
    {"odd_width", CouplingKind::affine, Permutation::invconv, true, true, false, 1, 21},
    {"dequantizer", CouplingKind::affine, Permutation::invconv, true, true, false, 3, 32,
     CouplingScale::sigmoid, true},
    {"four_channels", CouplingKind::affine, Permutation::invconv, true, true, false, 4, 24},
};
ModelConfig config_of(const Variant& variant) {
    ModelConfig config = make_config(8, 16, variant.channels, 2, 2, variant.width);
    config.coupling = variant.coupling;
    config.coupling_scale = variant.scale;
    config.permutation = variant.permutation;
    config.edge_bias = variant.edge;
    config.learn_top = variant.learn_top;
    if (variant.dequantizer) {
        config.dequant_depth = 2;
        config.dequant_width = 16;
    }
    if (variant.classes) {
        config.y_cond = true;
        config.n_classes = 3;
        config.weight_y = 0.2;
    }
    return config;
}

class DeviceParity : public testing::TestWithParam<std::tuple<Target, Variant>> {
  protected:
    void SetUp() override {
        if (target().device == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
    }
    const Target& target() const { return std::get<0>(GetParam()); }
    ModelConfig config() const { return config_of(std::get<1>(GetParam())); }

    // Bounds on relative errors of states, densities and gradients.
    void expect_parity(Precision precision, double state, double density, double gradient,
                       const MemoryPolicy& policy, bool zero_networks = false, Engine engine = Engine::gemm) {
        Settings settings{.zero_networks = zero_networks};
        DeviceModel plain(config(), 5, {"cpu", Device::cpu, false}, Precision::fp32, settings);
        settings.engine = engine;
        DeviceModel other(config(), 5, target(), precision, settings);
        const Outcome expected = plain.run(policy), found = other.run(policy);
        EXPECT_LE(relative_error(found.latents, expected.latents), state);
        EXPECT_LE(relative_error(found.logdet, expected.logdet), density);
        EXPECT_LE(relative_error(found.prior, expected.prior), density);
        EXPECT_LE(relative_error(found.bits_y, expected.bits_y), density);
        EXPECT_LE(relative_error(found.rebuilt, other.x()), state);
        EXPECT_LE(relative_error(found.dx, expected.dx), gradient);
        EXPECT_LE(relative_error(found.gradient, expected.gradient), gradient);
        EXPECT_LE(relative_error(found.eps, expected.eps), state);
        EXPECT_LE(relative_error(found.minus_log_q, expected.minus_log_q), density);
        EXPECT_LE(relative_error(found.numbers, expected.numbers), state);
        for (const double drift : found.difference)
            EXPECT_LE(drift, precision == Precision::fp32 ? 1e-5 : 1e-2);
        EXPECT_LE(relative_error(found.decoded, other.x()), state);
        EXPECT_GT(norm(expected.gradient), 0);
        // The fp32 gradient bound is tight enough to detect an error of 1%; the others are looser.
        Numbers wrong = found.gradient;
        for (double& g : wrong) g *= 1.01;
        if (precision == Precision::fp32) {
            EXPECT_GT(relative_error(wrong, expected.gradient), gradient);
        }
        // A second run gives the same bits.
        const Outcome again = other.run(policy);
        EXPECT_EQ(again.latents, found.latents);
        EXPECT_EQ(again.logdet, found.logdet);
        EXPECT_EQ(again.rebuilt, found.rebuilt);
        EXPECT_EQ(again.gradient, found.gradient);
        EXPECT_EQ(again.decoded, found.decoded);
        EXPECT_EQ(again.minus_log_q, found.minus_log_q);
    }
};

INSTANTIATE_TEST_SUITE_P(Targets, DeviceParity,
                         testing::Combine(testing::Values(test::kGpuPaths, test::kCuda),
                                          testing::ValuesIn(kVariants)),
                         [](const auto& info) {
                             return std::string(std::get<0>(info.param).name) + "_" +
                                    std::get<1>(info.param).name;
                         });

// Sums of a few hundred float products in another order: 6e-8 each, times the square root of their number.
TEST_P(DeviceParity, InFloat) {
    expect_parity(Precision::fp32, 1e-5, 1e-5, 1e-4, {});
}

TEST_P(DeviceParity, InFloatWithSavedStatesAndMaps) {
    MemoryPolicy policy;
    policy.anchor_every = 1;
    expect_parity(Precision::fp32, 1e-5, 1e-5, 1e-4, policy);
    policy.maps = true;
    expect_parity(Precision::fp32, 1e-5, 1e-5, 1e-4, policy);
}

// With networks that output 0, everything that touches the state is in double. Gradients stay float.
TEST_P(DeviceParity, InDouble) {
    expect_parity(Precision::fp32, 1e-10, 1e-10, 1e-4, {}, true);
}

// Operands are rounded to 10 mantissa bits in tf32 (a relative error of 5e-4) and to 8 bits in bf16 (2e-3 to
// 4e-3). The bounds allow for three consecutive products, and the work after them, whose errors add up.
TEST_P(DeviceParity, InTf32) {
    if (target().device != Device::cuda) GTEST_SKIP() << "CPUs have no tf32";
    expect_parity(Precision::tf32, 2e-3, 2e-3, 1e-2, {});
}
TEST_P(DeviceParity, InBf16) {
    if (target().device == Device::cpu && !make_cpu_blas(1)->has_bf16())
        GTEST_SKIP() << "no bf16 products on this machine or in this build";
    expect_parity(Precision::bf16, 2e-2, 2e-2, 8e-2, {});
}

class CountingLaunches : public LaunchObserver {
  public:
    void launch(const char* name, double) override { ++count[name]; }
    std::map<std::string, int> count;
};

class NarrowConvParity : public testing::TestWithParam<Target> {
  protected:
    void SetUp() override {
        if (GetParam().device == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
    }
};
INSTANTIATE_TEST_SUITE_P(Targets, NarrowConvParity, testing::Values(test::kGpuPaths, test::kCuda),
                         test::target_name);

// The kernels of kernels/narrow_conv_backward.h within a model, against the library's products and separate
// kernels. Only large tiles use them; the second one adds to the gradients of the first. Both round the same
// values to bf16, but add in different orders.
TEST_P(NarrowConvParity, FusedKernelsMatchProducts) {
    const ModelConfig config = make_config(8, 16, 3, 1, 1, 128);
    constexpr index_t kTile = 16384 / 32;  // images, of 4x8 pixels at level 0
    CountingLaunches fused_launches, launches;
    DeviceModel fused(config, 2 * kTile, GetParam(), Precision::bf16,
                      {.tile = kTile, .observer = &fused_launches});
    DeviceModel products(config, 2 * kTile, GetParam(), Precision::bf16,
                         {.tile = kTile, .tensor_cores = false, .observer = &launches});
    const Outcome found = fused.run(), expected = products.run();
    if (GetParam().device == Device::cuda && fused_launches.count["output_conv_backward"] == 0)
        GTEST_SKIP() << "this GPU's shared memory is too small";
    for (const char* kernel : {"output_conv_backward", "input_conv_backward"}) {
        EXPECT_EQ(fused_launches.count[kernel], 2);
        EXPECT_EQ(launches.count[kernel], 0);
    }
    EXPECT_EQ(found.latents, expected.latents);
    EXPECT_LE(relative_error(found.dx, expected.dx), 1e-3);
    EXPECT_LE(relative_error(found.gradient, expected.gradient), 1e-3);
    EXPECT_GT(norm(expected.gradient), 0);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
