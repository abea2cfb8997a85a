// The buffers that images pass through.
#pragma once

#include <algorithm>

#include "data/batch.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"

namespace glow {

// Buffers of the flow for up to `capacity` images.
struct FlowBuffers {
    index_t capacity = 0;
    state_t* h = nullptr;                          // [capacity, D]
    double *logdet = nullptr, *prior = nullptr;    // [capacity]
    double *bits_y = nullptr, *error_y = nullptr;  // [capacity] with a classifier
    double* minus_log_q = nullptr;                 // [capacity] with a dequantizer
    // On a GPU only: device copies of a batch.
    std::uint8_t* pixels = nullptr;    // [capacity, D]
    std::uint64_t* numbers = nullptr;  // [capacity]
    std::int32_t* labels = nullptr;    // [capacity]
    // device: where the buffers will be used, even if `state` only counts.
    static FlowBuffers take(Arena& state, index_t capacity, const ModelConfig& model, Device device);
    // The batch on the device: unchanged on the CPU, otherwise copied to these buffers, whose addresses are
    // fixed for captured graphs. Valid until the next call.
    Batch to_device(const Exec& exec, const Batch& batch, index_t D) const;
    const std::int32_t* labels_to_device(const Exec& exec, index_t N, const std::int32_t* classes) const;
    // Calls f(first, count) for N images, as many at a time as the buffers hold.
    template <class F>
    void for_each_pass(index_t N, F f) const {
        for (index_t first = 0; first < N; first += capacity) f(first, std::min(capacity, N - first));
    }
    Flow flow(index_t N, const std::int32_t* labels = nullptr) const {
        return {N, h, logdet, prior, labels, bits_y, error_y};
    }
};

// A model whose weights are bound and derived, and the buffers that images pass through.
struct RunnableModel {
    const Context& context;
    Glow& glow;
    const FlowBuffers& buffers;
};

}  // namespace glow
