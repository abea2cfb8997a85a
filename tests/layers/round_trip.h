// Runs a deep model forward and back, and measures how exactly the inverse reconstructs the states of
// forward.
#pragma once

#include <algorithm>
#include <cstdio>
#include <utility>

#include "kernels/math.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {

struct RoundTrip : Model {
    using Model::Model;

    // Forward by hand, recording the state that every coupling reads.
    std::vector<std::vector<double>> walk_forward() {
        std::vector<std::vector<double>> inputs;
        h = x;
        for (Glow::Level& level : glow.levels()) {
            level.squeeze.forward(machine.context, flow);
            for (auto& step : level.steps) {
                step->mixing.forward(machine.context, flow);
                inputs.emplace_back(h.begin(), h.begin() + flow.N * level.shape.size());
                step->coupling.forward(machine.context, flow);
            }
            if (level.split) level.split->forward(machine.context, flow);
        }
        return inputs;
    }
    // The way back; with `fed`, every network gets forward's input. Returns how many network inputs differ
    // from forward's after rounding to the network's type, which is all that a network reads.
    template <class Map>
    std::vector<index_t> walk_back(std::vector<std::vector<double>> inputs, bool fed) {
        std::vector<index_t> flips(static_cast<std::size_t>(flow.N));
        for (std::size_t l = glow.levels().size(); l-- > 0;) {
            Glow::Level& level = glow.levels()[l];
            if (level.split) level.split->inverse(machine.context, flow);
            for (std::size_t k = level.steps.size(); k-- > 0;) {
                const std::vector<double>& input = inputs.back();
                const index_t C = level.shape.C;
                for (std::size_t i = 0; i < input.size(); ++i)
                    if (static_cast<index_t>(i) % C < C / 2)
                        flips[static_cast<index_t>(i) / level.shape.size()] +=
                            widen(round_state<Map>(input[i])) != widen(round_state<Map>(h[i]));
                std::vector<double> a = input;  // `fed`: the network reads its true input
                const auto exchange_a = [&] {
                    for (std::size_t i = 0; fed && i < a.size(); ++i)
                        if (static_cast<index_t>(i) % C < C / 2) std::swap(a[i], h[i]);
                };
                exchange_a();
                level.steps[k]->coupling.inverse(machine.context, flow);
                exchange_a();
                level.steps[k]->mixing.inverse(machine.context, flow);
                inputs.pop_back();
            }
            level.squeeze.inverse(machine.context, flow);
        }
        return flips;
    }
    // The largest error of each image.
    std::vector<double> errors() const {
        const index_t D = glow.config().dimensions();
        std::vector<double> result;
        for (index_t n = 0; n < flow.N; ++n) {
            double largest = 0;
            for (index_t i = n * D; i < (n + 1) * D; ++i)
                if (!(std::abs(h[i] - x[i]) <= largest)) largest = std::abs(h[i] - x[i]);
            result.push_back(largest);
        }
        return result;
    }
};

// Tolerances. exact: from the state's own arithmetic, with or without forward's network inputs. worst: from
// the networks' precision, for images with a network input that rounds differently than in forward. median:
// of the errors over images.
template <class Map>
void expect_inverse(RoundTrip& model, double exact, double worst, double median) {
    const std::size_t middle = static_cast<std::size_t>(model.flow.N / 2);
    const auto sorted = [](std::vector<double> values) {
        std::sort(values.begin(), values.end());
        return values;
    };
    const std::vector<std::vector<double>> inputs = model.walk_forward();
    const std::vector<double> z = model.h;
    ASSERT_LT(largest_difference(z, std::vector<double>(z.size(), 0.0)), 1e3) << "the state has exploded";

    // With forward's inputs the networks reproduce forward's outputs. Only the state's double arithmetic
    // remains: 1e-14 after 96 steps, times what the mixings amplify.
    model.walk_back<Map>(inputs, true);
    const std::vector<double> fed = sorted(model.errors());
    std::printf("fed with forward's network inputs: median %.1e, worst %.1e\n", fed[middle], fed.back());
    EXPECT_LE(fed.back(), 1e-10);

    model.h = z;
    const std::vector<index_t> flips = model.walk_back<Map>(inputs, false);
    const std::vector<double> errors = model.errors(), free = sorted(errors);
    index_t entries = 0, flipped = 0, images = 0;
    for (const auto& input : inputs) entries += static_cast<index_t>(input.size()) / 2;
    for (const index_t count : flips) {
        flipped += count;
        images += count > 0;
    }
    std::printf(
        "by itself: median %.1e, worst %.1e; %lld of %lld network inputs, in %lld of %lld images, round to "
        "another value\n",
        free[middle], free.back(), static_cast<long long>(flipped), static_cast<long long>(entries),
        static_cast<long long>(images), static_cast<long long>(model.flow.N));
    // Only images with an input that rounds differently may exceed the state's arithmetic.
    for (index_t n = 0; n < model.flow.N; ++n)
        EXPECT_LE(errors[n], flips[n] == 0 ? exact : worst) << "image " << n;
    EXPECT_LE(free[middle], median);
}

}  // namespace glow::inline GLOW_REAL
