// A single layer with random parameters and data, and the properties every layer must satisfy: gradients,
// reconstructed input, accumulation, inverse, log-determinant. In double.
#pragma once

#include <functional>
#include <memory>

#include "tests/layers/fixture.h"
#include "tests/layers/gradient_check.h"

namespace glow::inline GLOW_REAL {

struct LayerHarness {
    // make(parameters) creates the layer; prepare() computes its derived values, if any.
    template <class Make>
    LayerHarness(index_t N, const Shape& shape, Make make, std::uint64_t seed = 5)
        : machine(),
          parameters(),
          layer(make(parameters)),
          values(parameters, machine.backend.solver(), seed),
          N(N),
          shape(shape),
          x(Random(seed + 1).normals(N * shape.size())),
          g(Random(seed + 2).normals(N * shape.size())),
          logdet(N),
          prior(N) {}

    // loss = <g, y> + dlogp * sum of (logdet + prior).
    double loss() {
        prepare();
        run(x, [&](Flow& flow) { layer->forward(machine.context, flow); });
        long double total = dlogp * (sum(logdet) + sum(prior));
        for (std::size_t i = 0; i < h.size(); ++i) total += g[i] * h[i];
        return static_cast<double>(total);
    }
    // Runs backward from the state h left by loss(): h becomes the reconstructed x, dh and parameter
    // gradients are those of the loss.
    void backward() {
        dh = g;
        dcondition.assign(condition.size(), 0.0);
        Flow flow = flow_of_h();
        Gradient gradient{dh.data(), dlogp, 0, {values.gradient.data()}, dcondition.data()};
        layer->backward(machine.context, flow, gradient);
    }
    // h = f(from), with logdet and prior starting at zero.
    template <class F>
    void run(const std::vector<double>& from, F f) {
        h = from;
        logdet.assign(N, 0.0);
        prior.assign(N, 0.0);
        Flow flow = flow_of_h();
        f(flow);
    }
    Flow flow_of_h() {
        return {.N = N,
                .h = h.data(),
                .logdet = logdet.data(),
                .prior = prior.data(),
                .condition = condition.data()};
    }

    void expect_correct_gradients(bool many_relus = false) {
        loss();
        std::fill(values.gradient.begin(), values.gradient.end(), 0.0);
        backward();
        std::vector<Block> blocks = parameter_blocks(parameters, values.gradient);
        blocks.push_back({"x", x.data(), dh.data(), N * shape.size()});
        if (!condition.empty())
            blocks.push_back({"condition", condition.data(), dcondition.data(), std::ssize(condition)});
        check_gradients(
            blocks, [&] { return loss(); }, many_relus);
    }

    // 1e-12: a few hundred roundings of numbers of size 1.
    void expect_reconstructed_input() {
        loss();
        const std::vector<double> y = h, logdet_before = logdet, prior_before = prior;
        backward();
        EXPECT_LE(largest_difference(h, x), 1e-12);
        EXPECT_EQ(logdet, logdet_before);
        EXPECT_EQ(prior, prior_before);
        run(y, [&](Flow& flow) { layer->inverse(machine.context, flow); });
        EXPECT_LE(largest_difference(h, x), 1e-12);
        EXPECT_EQ(sum(logdet), 0);
    }

    // Accumulating twice doubles the gradient, up to the rounding of one addition.
    void expect_accumulating_gradients() {
        loss();
        const std::vector<double> y = h;
        std::fill(values.gradient.begin(), values.gradient.end(), 0.0);
        backward();
        const std::vector<double> once = values.gradient, dx = dh;
        h = y;
        backward();
        EXPECT_EQ(dh, dx);
        for (std::size_t i = 0; i < once.size(); ++i)
            ASSERT_NEAR(values.gradient[i], 2 * once[i], 1e-12 * (1 + std::abs(once[i])));
    }

    // log|det dy/dx| of every image from central differences of the full Jacobian.
    void expect_log_determinant() {
        loss();
        const std::vector<double> logdet_claimed = logdet;
        const index_t size = shape.size();
        for (index_t n = 0; n < N; ++n) {
            std::vector<double> jacobian(size * size);
            for (index_t i = 0; i < size; ++i) {
                constexpr double e = 1e-5;
                const double here = x[n * size + i];
                x[n * size + i] = here + e;
                loss();
                const std::vector<double> plus = h;
                x[n * size + i] = here - e;
                loss();
                x[n * size + i] = here;
                for (index_t o = 0; o < size; ++o)
                    jacobian[o * size + i] = (plus[n * size + o] - h[n * size + o]) / (2 * e);
            }
            // Entries have errors of about e^2 = 1e-10; size^2 of them add up.
            EXPECT_NEAR(logdet_claimed[n], log_abs_det(machine.backend.solver(), size, jacobian), 1e-7);
        }
    }

    Machine machine;
    Parameters parameters;
    std::unique_ptr<Layer> layer;
    Values values;
    std::function<void()> prepare = [] {};
    index_t N;
    Shape shape;
    double dlogp = -0.7;
    std::vector<double> x, g, h, dh, logdet, prior;
    std::vector<double> condition, dcondition;  // empty: the layer has none
};

}  // namespace glow::inline GLOW_REAL
