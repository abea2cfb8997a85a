#include "inference/density_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "inference/flow_buffers.h"
#include "kernels/density_map.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "runtime/device.h"
#include "runtime/watchdog.h"

namespace glow {

ImageSize density_map_size(const ModelConfig& model) {
    const Shape top = level_shape(model, model.levels - 1);
    return {top.H, top.W};
}

DensityMaps::DensityMaps(LoadedModel& model, const Backend& backend, std::size_t other_bytes)
    : model_(model), positions_(density_map_size(model.config()).H * density_map_size(model.config()).W) {
    const ModelConfig& config = model.config();
    const Glow::ConstantLogdets constant = model.glow().constant_logdets(model.context());
    // bits_per_dim(0) is the term of the bins' width.
    constant_ = (constant.actnorm + constant.mixing - config.bits_per_dim(0) * config.nats_per_bit_dim()) /
                static_cast<double>(positions_);
    Memory counting;
    const Context counting_context = backend.counting_context(counting[Category::workspace]);
    take(counting);
    Flow flow = count_load_flow({counting_context, model.glow(), model.buffers()});
    compute(counting_context, flow);
    bytes_ = total(counting.peak());
    model_.require_memory(other_bytes + bytes_);
    memory_ = std::make_unique<Memory>(backend.exec().device, counting.peak());
    context_ = std::make_unique<Context>(backend.context((*memory_)[Category::workspace]));
    take(*memory_);
}

void DensityMaps::take(Memory& memory) {
    const index_t capacity = model_.buffers().capacity;
    maps_ = memory[Category::state].take<double>(capacity * positions_);
    pixels_ = memory[Category::state].take<double>(capacity * level_shape(model_.config(), 0).pixels());
}

// Sets maps_ without the constant terms, and makes flow.h the latents. Each level sums by pixel, then by
// position.
void DensityMaps::compute(const Context& context, Flow& flow) {
    Glow& glow = model_.glow();
    const Exec& exec = context.exec;
    const ImageSize map = density_map_size(glow.config());
    const auto add_level = [&](const Shape& shape) {
        add_block_sums(exec, flow.N * map.H, map.W, shape.H / map.H, pixels_, maps_);
    };
    fill(exec, flow.N * positions_, 0.0, maps_);
    glow.for_each_layer(
        [&](Glow::Level& level) {
            level.squeeze.forward(context, flow);
            fill(exec, flow.N * level.shape.pixels(), 0.0, pixels_);
        },
        [&](Glow::Level&, Glow::Step& step, index_t, index_t) {
            step.mixing.forward(context, flow, false);
            step.coupling.forward_by_pixel(context, flow, pixels_);
        },
        [&](Glow::Level& level) {
            level.split->forward_by_pixel(context, flow, pixels_);
            add_level(level.shape);
        });
    glow.top().forward_by_pixel(context, flow, pixels_);
    add_level(glow.levels().back().shape);
}

void DensityMaps::run(const PixelArray& images, const Noise& noise, std::uint64_t draw, double* maps) {
    const RunnableModel runnable{*context_, model_.glow(), model_.buffers()};
    model_.buffers().for_each_pass(images.N, [&](index_t first, index_t count) {
        Flow flow = load_flow(runnable, images, first, count, noise, draw);
        compute(*context_, flow);
        double* const found = maps + first * positions_;
        download(context_->exec, count * positions_, maps_, found);
        std::vector<double> spread(static_cast<std::size_t>(count), constant_);
        if (flow.minus_log_q != nullptr) {
            model_.glow().add_logdets(*context_, flow);  // of the noise, on a GPU
            const std::vector<double> minus_log_q = downloaded(context_->exec, count, flow.minus_log_q);
            for (index_t n = 0; n < count; ++n) spread[n] += minus_log_q[n] / static_cast<double>(positions_);
        }
        for (index_t n = 0; n < count; ++n) {
            double* const map = found + n * positions_;
            std::for_each(map, map + positions_, [&](double& value) { value += spread[n]; });
            if (!std::isfinite(std::accumulate(map, map + positions_, 0.0)))
                refuse_not_finite(images, first + n);
        }
    });
}

DensityGradient& DensityTools::gradient() {
    const std::size_t others = maps_ ? maps_->bytes() : 0;
    if (!gradient_) gradient_ = std::make_unique<DensityGradient>(model_, backend_, others);
    gradient_->set_other_bytes(others);
    return *gradient_;
}

DensityMaps& DensityTools::maps() {
    const std::size_t others = gradient_ ? gradient_->bytes() : 0;
    if (!maps_) maps_ = std::make_unique<DensityMaps>(model_, backend_, others);
    return *maps_;
}

std::vector<double> density_maps(LoadedModel& model, const Backend& backend, const SplitImages& images,
                                 const LikelihoodRequest& request) {
    const ImageSize size = density_map_size(model.config());
    const index_t positions = size.H * size.W, draws = request.dequant_samples;
    const Noise noise = noise_of(model, request);
    DensityMaps maps(model, backend);
    std::vector<double> sums(static_cast<std::size_t>(images.N() * positions), 0.0);
    Communicator& processes = model.context().communicator;
    const Slice mine = processes.slice(images.N());
    const index_t at_once = std::min(model.buffers().capacity, mine.count);
    std::vector<index_t> numbers(static_cast<std::size_t>(at_once));
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(at_once * images.set().image_bytes()));
    std::vector<double> found(static_cast<std::size_t>(at_once * positions));
    for (index_t draw = 0; draw < draws; ++draw)
        for (index_t done = 0; done < mine.count; done += at_once) {
            const index_t count = std::min(at_once, mine.count - done), first = mine.first + done;
            std::iota(numbers.begin(), numbers.begin() + count, first);
            {
                const ScopedTimeout timeout("reading images");
                images.gather(numbers.data(), count, pixels.data());
            }
            maps.run({.N = count, .values = pixels.data(), .labels = images.labels(first), .number = first},
                     noise, static_cast<std::uint64_t>(draw), found.data());
            for (index_t i = 0; i < count * positions; ++i)
                sums[first * positions + i] += found[i] / static_cast<double>(draws);
            if (request.progress)
                request.progress(draw * images.N() + (done + count) * images.N() / mine.count,
                                 draws * images.N());
        }
    processes.all_gather_slices(images.N(), sizeof(double) * static_cast<std::size_t>(positions),
                                sums.data());
    return sums;
}

}  // namespace glow
