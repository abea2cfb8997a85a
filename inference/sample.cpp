#include "inference/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "inference/latents.h"
#include "kernels/dequantize.h"
#include "kernels/gaussian.h"
#include "kernels/reduce.h"
#include "runtime/device.h"

namespace glow {

void sample(const RunnableModel& model, const SampleRequest& request, std::uint8_t* pixels, double* largest,
            double* log_density) {
    const Context& context = model.context;
    const FlowBuffers& buffers = model.buffers;
    Glow& glow = model.glow;
    const index_t D = glow.config().dimensions();
    buffers.for_each_pass(request.count, [&](index_t first, index_t count) {
        const std::int32_t* const classes = request.labels != nullptr ? request.labels + first : nullptr;
        Flow flow = buffers.flow(count, buffers.labels_to_device(context.exec, count, classes));
        // Level by level, because the latents of a level are contiguous over all images. A noise block is 4
        // numbers, and every level has a multiple of 4: at least 4 channels at the top, even H and W if a
        // level is split.
        for (const LatentLevel& level : latent_levels(glow.config()))
            gaussian_noise(context.exec, {count, 1, level.shape.size(), level.shape.size()}, request.seed,
                           static_cast<std::uint64_t>(request.first + first),
                           static_cast<std::uint64_t>(level.offset / 4), request.temperature,
                           flow.h + count * level.offset);
        glow.decode(context, flow);
        download_images(model, flow, pixels + first * D, largest != nullptr ? largest + first : nullptr);
        if (log_density != nullptr) {
            glow.forward(context, flow);
            const std::vector<double> logdet = downloaded(context.exec, count, flow.logdet),
                                      prior = downloaded(context.exec, count, flow.prior);
            for (index_t n = 0; n < count; ++n) {
                const double sum = logdet[n] + prior[n];
                log_density[first + n] = std::isfinite(sum) ? sum : std::numeric_limits<double>::quiet_NaN();
            }
        }
        if (request.progress) request.progress(first + count);
    });
}

void download_images(const RunnableModel& model, const Flow& flow, std::uint8_t* pixels, double* largest) {
    const Context& context = model.context;
    const ModelConfig& config = model.glow.config();
    const index_t D = config.dimensions();
    std::uint8_t* const out = model.buffers.pixels != nullptr ? model.buffers.pixels : pixels;
    quantize(context.exec, flow.N * D, config.n_bits, flow.h, out);
    download(context.exec, flow.N * D, out, pixels);
    if (largest == nullptr) return;
    const Arena::Scope scope(context.workspace);
    double* const found = context.workspace.take<double>(flow.N);
    largest_values(context.exec, flow.N, D, flow.h, found,
                   context.workspace.take<double>(group_scratch(flow.N)));
    download(context.exec, flow.N, found, largest);
}

}  // namespace glow
