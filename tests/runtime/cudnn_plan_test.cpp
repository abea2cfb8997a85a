// GPU-independent parts of cuDNN convolutions: descriptors, allowed engines, workspace.
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "runtime/context.h"
#include "runtime/cudnn.h"
#include "runtime/cudnn_conv.h"
#include "tests/support.h"

namespace glow::cuda {
namespace {

using Pass = Convolution::Pass;

class CudnnDescription : public testing::Test {
  protected:
    void SetUp() override {
        std::string problem;
        cudnn_ = load_cudnn(problem);
        if (cudnn_ == nullptr) GTEST_SKIP() << problem;
    }
    const Cudnn& cudnn() const { return *cudnn_; }

  private:
    std::shared_ptr<const Cudnn> cudnn_;
};

// A tensor as described by its descriptor, in cuDNN's order N, C, H, W.
struct Tensor4 {
    explicit Tensor4(const CudnnDescriptor& d)
        : sizes(d.get<index_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 8)),
          strides(d.get<index_t>(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 8)),
          number(d.get<index_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1)[0]),
          type(d.get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1)[0]) {}
    index_t at(index_t n, index_t c, index_t h, index_t w) const {
        return n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3];
    }
    std::vector<index_t> sizes, strides;
    index_t number;
    cudnnDataType_t type;
};

// Evaluates the convolution as cuDNN defines it (its mode, cross-correlation, cannot be read back) from the
// descriptors' attributes; it must match runtime/conv.h.
TEST_F(CudnnDescription, DescribesConvolution) {
    const Convolution c{.N = 2, .H = 4, .W = 3, .in = 5, .out = 6};
    const ConvDescription d(cudnn(), c);
    const Tensor4 x(d.x), w(d.w), y(d.y);
    EXPECT_EQ(x.sizes, (std::vector<index_t>{2, 5, 4, 3}));
    EXPECT_EQ(w.sizes, (std::vector<index_t>{6, 5, 3, 3}));
    EXPECT_EQ(y.sizes, (std::vector<index_t>{2, 6, 4, 3}));
    const auto numbers = [&](cudnnBackendAttributeName_t name) {
        return d.window.get<index_t>(name, CUDNN_TYPE_INT64, 8);
    };
    EXPECT_EQ(d.window.get<index_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1),
              std::vector<index_t>{2});
    const std::vector<index_t> before = numbers(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
                               after = numbers(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS),
                               dilations = numbers(CUDNN_ATTR_CONVOLUTION_DILATIONS),
                               steps = numbers(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
    ASSERT_EQ(before.size(), 2u);
    for (int side = 0; side < 2; ++side) {
        const std::size_t s = static_cast<std::size_t>(side);
        EXPECT_EQ((x.sizes[2 + s] + before[s] + after[s] - dilations[s] * 2 - 1) / steps[s] + 1,
                  y.sizes[2 + s]);
    }
    test::Random random(1);
    const auto X = random.normals(2 * 4 * 3 * 5), Wt = random.normals(6 * 9 * 5);
    for (index_t n = 0; n < c.N; ++n)
        for (index_t h = 0; h < c.H; ++h)
            for (index_t v = 0; v < c.W; ++v)
                for (index_t o = 0; o < c.out; ++o) {
                    double found = 0, exact = 0;
                    for (index_t kh = 0; kh < 3; ++kh)
                        for (index_t kw = 0; kw < 3; ++kw)
                            for (index_t i = 0; i < c.in; ++i) {
                                const index_t p = h * steps[0] + kh * dilations[0] - before[0],
                                              q = v * steps[1] + kw * dilations[1] - before[1];
                                if (p >= 0 && p < c.H && q >= 0 && q < c.W)
                                    found += X[x.at(n, i, p, q)] * Wt[w.at(o, i, kh, kw)];
                                const index_t r = h + kh - 1, s = v + kw - 1;
                                if (r >= 0 && r < c.H && s >= 0 && s < c.W)
                                    exact += Wt[((o * 3 + kh) * 3 + kw) * c.in + i] *
                                             X[((n * c.H + r) * c.W + s) * c.in + i];
                            }
                    ASSERT_NEAR(found, exact, 1e-13);
                    ASSERT_EQ(y.at(n, o, h, v), ((n * c.H + h) * c.W + v) * c.out + o);
                }
}

// The operation of a pass, its tensors, and the factors of result = 1 * pass + 0 * old result.
TEST_F(CudnnDescription, HasOperationOfPass) {
    struct Names {
        Pass pass;
        cudnnBackendAttributeName_t x, w, y, alpha, beta;
    };
    for (const Names& names :
         {Names{Pass::forward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
          Names{Pass::data_gradient, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
          Names{Pass::weight_gradient, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}}) {
        const ConvDescription d(cudnn(), {.pass = names.pass, .N = 1, .H = 2, .W = 2, .in = 8, .out = 4});
        const auto sizes_of = [&](cudnnBackendAttributeName_t name) {
            const CudnnDescriptor tensor(cudnn(), CUDNN_BACKEND_TENSOR_DESCRIPTOR);
            cudnnBackendDescriptor_t handle = tensor.handle();
            d.operation.get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
            std::vector<index_t> sizes = Tensor4(tensor).sizes;
            if (sizes.size() == 5) sizes.erase(sizes.begin());  // the library reports a single group
            return sizes;
        };
        EXPECT_EQ(sizes_of(names.x), Tensor4(d.x).sizes);
        EXPECT_EQ(sizes_of(names.w), Tensor4(d.w).sizes);
        EXPECT_EQ(sizes_of(names.y), Tensor4(d.y).sizes);
        EXPECT_EQ(Tensor4(d.x).number, ConvDescription::kX);
        EXPECT_EQ(Tensor4(d.w).number, ConvDescription::kW);
        EXPECT_EQ(Tensor4(d.y).number, ConvDescription::kY);
        EXPECT_EQ(d.operation.get<double>(names.alpha, CUDNN_TYPE_DOUBLE, 1), std::vector<double>{1});
        EXPECT_EQ(d.operation.get<double>(names.beta, CUDNN_TYPE_DOUBLE, 1), std::vector<double>{0});
    }
}

// bf16 operands, float sums and results; data gradients of bf16 networks are bf16.
TEST_F(CudnnDescription, HasRequestedTypes) {
    const auto types = [&](Pass pass, Scalar operands, Scalar result) {
        const ConvDescription d(cudnn(), {.pass = pass,
                                          .N = 1,
                                          .H = 2,
                                          .W = 2,
                                          .in = 512,
                                          .out = 12,
                                          .operands = operands,
                                          .result = result});
        EXPECT_EQ(d.window.get<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1)[0],
                  CUDNN_DATA_FLOAT);
        return std::vector<cudnnDataType_t>{Tensor4(d.x).type, Tensor4(d.w).type, Tensor4(d.y).type};
    };
    const auto f32 = CUDNN_DATA_FLOAT, bf16 = CUDNN_DATA_BFLOAT16;
    using Types = std::vector<cudnnDataType_t>;
    EXPECT_EQ(types(Pass::forward, Scalar::f32, Scalar::f32), (Types{f32, f32, f32}));
    EXPECT_EQ(types(Pass::forward, Scalar::tf32, Scalar::f32), (Types{f32, f32, f32}));
    EXPECT_EQ(types(Pass::forward, Scalar::bf16, Scalar::f32), (Types{bf16, bf16, f32}));
    EXPECT_EQ(types(Pass::data_gradient, Scalar::bf16, Scalar::bf16), (Types{bf16, bf16, bf16}));
    EXPECT_EQ(types(Pass::weight_gradient, Scalar::bf16, Scalar::f32), (Types{bf16, f32, bf16}));
}

// Operands start at pixels of arena blocks.
TEST(CudnnAlignment, FollowsChannelsOfOnePixel) {
    EXPECT_EQ(pixel_alignment(CUDNN_DATA_FLOAT, 512), 64);
    EXPECT_EQ(pixel_alignment(CUDNN_DATA_BFLOAT16, 512), 64);
    EXPECT_EQ(pixel_alignment(CUDNN_DATA_FLOAT, 12), 16);
    EXPECT_EQ(pixel_alignment(CUDNN_DATA_BFLOAT16, 12), 8);
    EXPECT_EQ(pixel_alignment(CUDNN_DATA_BFLOAT16, 7), 2);
}

TEST(CudnnEngines, MustBeDeterministicAndKeepPrecision) {
    const auto allowed = [](Scalar operands, std::vector<cudnnBackendNumericalNote_t> notes) {
        return engine_allowed(operands, notes);
    };
    for (const Scalar operands : {Scalar::f32, Scalar::tf32, Scalar::bf16}) {
        EXPECT_TRUE(allowed(operands, {}));
        EXPECT_FALSE(allowed(operands, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}));
        EXPECT_FALSE(allowed(operands, {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}));
        EXPECT_FALSE(
            allowed(operands, {CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4}));
        EXPECT_FALSE(allowed(operands, {CUDNN_NUMERICAL_NOTE_FFT}));
    }
    EXPECT_FALSE(allowed(Scalar::f32, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}));
    EXPECT_TRUE(allowed(Scalar::bf16, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}));
    EXPECT_TRUE(
        allowed(Scalar::tf32, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}));
    EXPECT_FALSE(allowed(Scalar::f32, {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}));
    EXPECT_FALSE(allowed(Scalar::bf16, {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}));
}

TEST(CudnnConv, CountsWorkspaceWithoutGpu) {
    EXPECT_EQ(make_conv({Device::cuda, 1, nullptr})->scratch_bytes(), kConvWorkspace + kConvAlignment);
    const Backend backend = Backend::for_plans(Device::cuda);
    Arena workspace(Device::count_only, Category::workspace, 0);
    backend.counting_context(workspace).convolve({.N = 1, .H = 2, .W = 2, .in = 8, .out = 4}, nullptr,
                                                 nullptr, nullptr);
    EXPECT_EQ(workspace.peak(), kConvWorkspace + kConvAlignment);
}

TEST_F(CudnnDescription, ErrorsNameTheCall) {
    try {
        CudnnDescriptor tensor(cudnn(), CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        tensor.finalize();
        FAIL() << "a tensor without sizes";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("finalize"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("CUDNN_STATUS"), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace glow::cuda
