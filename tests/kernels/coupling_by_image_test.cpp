// The kernels that compute the coupling layer with a thread block per image, against the element-wise kernels
// they replace: the same bits, and the same sums up to their order. Both run on the same device: a GPU, or
// the CPU taking the GPU code paths.
#include "kernels/coupling_by_image.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "kernels/convolution.h"
#include "kernels/coupling.h"
#include "kernels/reduce.h"
#include "tests/device_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::Random;
using Numbers = std::vector<std::vector<double>>;

struct Case {
    bool affine, edge;
    index_t N, H, W, outputs;
    CouplingScale scale = CouplingScale::sigmoid;
    index_t channels() const { return affine ? outputs : 2 * outputs; }
    index_t pixels() const { return N * H * W; }
    index_t stride() const { return round_up(9 * outputs, 8); }
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << (c.affine ? "affine " : "additive ") << (c.scale == CouplingScale::tanh ? "bounded " : "")
               << (c.edge ? "with edge " : "") << c.N << " images " << c.H << "x" << c.W << ", " << c.outputs
               << " outputs";
}
// The published model's levels, and what is small, thin, or not a multiple of anything.
const Case kCases[] = {{true, true, 3, 16, 16, 12},
                       {true, true, 5, 8, 8, 24},
                       {true, true, 9, 4, 4, 48},
                       {true, false, 2, 5, 7, 12},
                       {true, true, 2, 1, 1, 4},
                       {true, true, 2, 1, 9, 2},
                       {true, true, 2, 6, 1, 6},
                       {false, true, 3, 16, 16, 6},
                       {false, false, 2, 3, 5, 8},
                       {false, true, 4, 2, 2, 24},
                       {true, true, 1, 2, 3, 96},
                       {true, true, 2, 20, 20, 12},
                       {true, true, 3, 16, 16, 12, CouplingScale::tanh},
                       {true, false, 2, 5, 7, 6, CouplingScale::tanh}};

constexpr double kDlogdet = -0.03;

// What a coupling layer reads and writes, on one device.
template <class Map>
class Layer {
  public:
    Layer(const Exec& exec, const Case& c) : c_(c), device_(exec) {
        Random random(11);
        taps_ = device_.in(random.normals<real>(c.pixels() * c.stride()));
        edge_weight_ = device_.in(random.normals<real>(c.outputs * 9 * 3));
        bias_ = device_.in(random.normals<real>(c.outputs));
        scale_ = device_.in(random.normals(c.outputs));
        h_ = device_.out(random.normals(c.pixels() * c.channels()));
        dh_ = device_.out(random.normals<real>(c.pixels() * c.channels()));
        logdet_ = device_.out(random.normals(c.N));
        out_ = device_.out(std::vector<real>(c.pixels() * c.outputs));
        dtaps_ = device_.out(std::vector<Map>(c.pixels() * c.stride()));
        sums_ = device_.out(std::vector<real>(11 * c.outputs));
    }
    CouplingImages images() const {
        return {c_.affine, c_.scale,   c_.N,        c_.H,
                c_.W,      c_.outputs, c_.stride(), c_.edge ? edge_weight_ : nullptr,
                3,         bias_,      scale_,      h_};
    }
    ImageRows rows() const { return {c_.H, c_.W, 0, c_.N * c_.H}; }

    // out, element by element.
    void make_out() {
        col2im(device_.exec, rows(), {c_.outputs, false, false, c_.stride()}, Taps::direct, taps_, out_,
               c_.outputs);
        zero_convolution_finish(device_.exec, rows(), c_.outputs, c_.edge ? edge_weight_ : nullptr, 3, bias_,
                                scale_, out_);
    }
    Numbers forward() {
        make_out();
        if (c_.affine)
            affine_coupling_forward(device_.exec, c_.N, c_.H * c_.W, c_.channels(), {c_.scale, out_}, h_,
                                    logdet_, device_.scratch<double>(group_scratch(c_.N)));
        else
            additive_coupling_forward(device_.exec, c_.pixels(), c_.channels(), out_, h_);
        return device_.results();
    }
    Numbers forward_image(const std::function<void(CouplingImages&)>& change = [](CouplingImages&) {}) {
        CouplingImages images = this->images();
        change(images);
        coupling_forward_by_image(device_.exec, images, taps_, logdet_, out_);
        return device_.results();
    }

    Numbers backward() {
        const Exec& exec = device_.exec;
        make_out();
        real* const dout = device_.scratch<real>(c_.pixels() * c_.outputs);
        if (c_.affine)
            affine_coupling_backward(exec, c_.pixels(), c_.channels(), kDlogdet, {c_.scale, out_}, dout, h_,
                                     dh_);
        else
            additive_coupling_backward(exec, c_.pixels(), c_.channels(), out_, dout, h_, dh_);
        const index_t C = c_.outputs;
        double* const partial = device_.scratch<double>(column_scratch(9, C));
        real* const logs = device_.scratch<real>(C);
        zero_convolution_backward(exec, c_.pixels(), C, scale_, out_, dout, {sums_, logs}, partial);
        add(logs, C, 1.0 / kLogsFactor, sums_ + C);
        im2col(exec, rows(), Columns{C, false, false, c_.stride()}, Taps::mirrored, dout, C, dtaps_);
        if (c_.edge) {  // of what the weights' gradient sees: dout rounded
            const std::vector<real> exact = downloaded(exec, c_.pixels() * C, dout);
            std::vector<real> rounded(exact.size());
            for (std::size_t i = 0; i < exact.size(); ++i) rounded[i] = widen(round_to<Map>(exact[i]));
            real* const by_output = device_.scratch<real>(9 * C);
            edge_weight_backward(exec, ImageRows::of_images(c_.N, c_.H, c_.W), C, device_.in(rounded),
                                 by_output, 1, partial);
            const std::vector<real> found = downloaded(exec, 9 * C, by_output);
            std::vector<real> by_tap(found.size());
            for (index_t c = 0; c < C; ++c)
                for (index_t tap = 0; tap < 9; ++tap) by_tap[tap * C + c] = found[c * 9 + tap];
            upload(exec, 9 * C, by_tap.data(), sums_ + 2 * C);
        }
        return device_.results();
    }
    // from_out: of a forward that kept it.
    Numbers backward_image(
        bool from_out, double dlogdet = kDlogdet,
        const std::function<void(CouplingImages&)>& change = [](CouplingImages&) {}) {
        make_out();
        CouplingImages images = this->images();
        change(images);
        const index_t count = output_sums(c_.edge) * c_.outputs;
        double* const sums = device_.scratch<double>(count * c_.N);
        coupling_backward_by_image<Map>(device_.exec, images, from_out ? nullptr : taps_,
                                        from_out ? out_ : nullptr, {dlogdet, dh_, dtaps_, sums, c_.N});
        const std::vector<double> found = downloaded(device_.exec, count * c_.N, sums);
        std::vector<real> totals(static_cast<std::size_t>(count));
        for (index_t s = 0; s < count; ++s) {
            double sum = 0;
            for (index_t n = 0; n < c_.N; ++n) sum += found[s * c_.N + n];
            totals[s] = static_cast<real>(sum);
        }
        upload(device_.exec, count, totals.data(), sums_);
        return device_.results();
    }

  private:
    void add(const real* from, index_t count, double factor, real* to) {
        std::vector<real> values = downloaded(device_.exec, count, from);
        for (real& value : values) value = static_cast<real>(value * factor);
        upload(device_.exec, count, values.data(), to);
    }

    Case c_;
    DeviceUnderTest device_;
    real *taps_, *edge_weight_, *bias_;
    double* scale_;
    state_t* h_;
    real* dh_;
    double* logdet_;
    real* out_;
    Map* dtaps_;
    real* sums_;
};

class CouplingByImageKernels : public test::DeviceParityTest {
  protected:
    // Arrays in the order of Layer: h, dh, logdet, out, dtaps, sums. Sums of up to a thousand normal numbers
    // (by far most cases) in double, rounded once to real; a device contracts multiplications and additions
    // as it likes. "" or the first difference.
    static std::string difference(const Numbers& a, const Numbers& b, bool exact) {
        for (std::size_t array = 0; array < a.size(); ++array) {
            const bool sum = array == 2 || array == 5;
            const double tolerance = array == 2 ? 1e-11 : sum ? 4e-6 : exact ? 0 : 2e-6;
            for (std::size_t i = 0; i < a[array].size(); ++i)
                if (!(std::abs(a[array][i] - b[array][i]) <= tolerance * (1 + std::abs(b[array][i]))))
                    return "array " + std::to_string(array) + ", element " + std::to_string(i) + ": " +
                           std::to_string(a[array][i]) + " and " + std::to_string(b[array][i]);
        }
        return "";
    }
    bool exact() const { return target().device == Device::cpu; }

    template <class Map>
    void expect_backward() {
        for (const Case& c : kCases) {
            SCOPED_TRACE(testing::Message() << c);
            ASSERT_TRUE(coupling_by_image_fits<Map>(c.H, c.W, c.outputs));
            const Numbers expected = Layer<Map>(target(), c).backward();
            EXPECT_EQ(difference(Layer<Map>(target(), c).backward_image(false), expected, exact()), "");
            EXPECT_EQ(difference(Layer<Map>(target(), c).backward_image(true), expected, exact()), "");
        }
    }
};

INSTANTIATE_TEST_SUITE_P(Targets, CouplingByImageKernels, testing::Values(test::kGpuPaths, test::kCuda),
                         test::target_name);

TEST_P(CouplingByImageKernels, ForwardMatchesElementKernels) {
    for (const Case& c : kCases) {
        SCOPED_TRACE(testing::Message() << c);
        EXPECT_EQ(
            difference(Layer<real>(target(), c).forward_image(), Layer<real>(target(), c).forward(), exact()),
            "");
    }
}

TEST_P(CouplingByImageKernels, BackwardMatchesElementKernels) {
    expect_backward<real>();
#if !defined(GLOW_REAL_DOUBLE)
    expect_backward<bfloat16>();
#endif
}

// The comparisons above see one wrong index, sign or edge.
TEST_P(CouplingByImageKernels, ComparisonFindsSabotage) {
    const Case c = kCases[3];
    const Case edge = kCases[0];
    const auto transpose = [](CouplingImages& images) { std::swap(images.H, images.W); };
    const auto move_edge = [](CouplingImages& images) { images.edge_weight += 3; };
    const auto swap_scale = [](CouplingImages& images) { images.coupling_scale = CouplingScale::tanh; };
    const Numbers forward = Layer<real>(target(), c).forward(),
                  backward = Layer<real>(target(), c).backward(),
                  with_edge = Layer<real>(target(), edge).backward();
    EXPECT_NE(difference(Layer<real>(target(), c).forward_image(transpose), forward, exact()), "");
    EXPECT_NE(difference(Layer<real>(target(), c).forward_image(swap_scale), forward, exact()), "");
    EXPECT_NE(
        difference(Layer<real>(target(), c).backward_image(false, kDlogdet, swap_scale), backward, exact()),
        "");
    EXPECT_NE(
        difference(Layer<real>(target(), c).backward_image(false, kDlogdet, transpose), backward, exact()),
        "");
    EXPECT_NE(difference(Layer<real>(target(), c).backward_image(false, -kDlogdet), backward, exact()), "");
    EXPECT_NE(difference(Layer<real>(target(), edge).backward_image(false, kDlogdet, move_edge), with_edge,
                         exact()),
              "");
}

// What a block can hold: the first level of 64x64 images in bf16, but not that of 128x128.
TEST(CouplingImageSize, FitsSharedMemory) {
    EXPECT_TRUE(coupling_by_image_fits<real>(16, 16, 12));
    EXPECT_FALSE(coupling_by_image_fits<real>(64, 64, 12));
    EXPECT_FALSE(coupling_by_image_fits<real>(4, 4, 15));
#if !defined(GLOW_REAL_DOUBLE)
    EXPECT_TRUE(coupling_by_image_fits<bfloat16>(32, 32, 12));
#endif
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
