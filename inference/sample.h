// Draws samples from a model.
#pragma once

#include <functional>

#include "inference/flow_buffers.h"
#include "runtime/context.h"

namespace glow {

struct SampleRequest {
    index_t count = 0;
    double temperature = 0.7;
    std::uint64_t seed = 0;
    const std::int32_t* labels = nullptr;  // [count]: classes for a conditional model
    index_t first = 0;                     // number of the first sample
    // Called after each batch.
    std::function<void(index_t done)> progress = nullptr;
};
// Draws samples into pixels [count, H, W, C]; each depends only on seed and number. largest [count]: each
// image's largest |x| before quantization, infinity if not finite; nullptr: not needed. log_density [count], or
// nullptr: as log_densities() of the images before quantization, NaN if not finite; costs a forward pass.
void sample(const RunnableModel& model, const SampleRequest& request, std::uint8_t* pixels,
            double* largest = nullptr, double* log_density = nullptr);

// Copies decoded images in flow.h to host memory: pixels [flow.N, H, W, C], and largest [flow.N] or nullptr as
// in sample().
void download_images(const RunnableModel& model, const Flow& flow, std::uint8_t* pixels, double* largest);

}  // namespace glow
