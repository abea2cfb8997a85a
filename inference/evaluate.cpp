#include "inference/evaluate.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/device.h"
#include "runtime/watchdog.h"

namespace glow {

Dequantization dequantization_of(const ModelConfig& model) {
    return model.dequant_depth > 0 ? Dequantization::variational : Dequantization::uniform;
}

Noise evaluation_noise(const ModelConfig& model, std::uint64_t seed) {
    return {dequantization_of(model), seed, Purpose::evaluate, nullptr};
}

EvaluationOutputs EvaluationOutputs::from(index_t first) const {
    const auto at = [first](double* values) { return values != nullptr ? values + first : nullptr; };
    return {at(bits_per_dim), at(logdet), at(prior), at(bits_y), at(error_y), at(minus_log_q)};
}

void evaluate(const RunnableModel& model, const Batch& batch, const Noise& noise,
              const EvaluationOutputs& outputs) {
    const Context& context = model.context;
    const FlowBuffers& buffers = model.buffers;
    Glow& glow = model.glow;
    const ModelConfig& config = glow.config();
    const index_t D = config.dimensions();
    buffers.for_each_pass(batch.N, [&](index_t first, index_t count) {
        const Batch slice = buffers.to_device(context.exec, batch.slice(first, count, D), D);
        Flow flow = buffers.flow(count, slice.labels);
        Noise slice_noise = noise;
        slice_noise.item = slice.numbers;
        glow.dequantize(context, {count, D, config.n_bits, slice.pixels}, slice_noise, flow,
                        {buffers.minus_log_q});
        glow.forward(context, flow);
        if (context.counting()) return;
        if (outputs.bits_per_dim != nullptr) {
            const std::vector<double> logdet = downloaded(context.exec, count, flow.logdet),
                                      prior = downloaded(context.exec, count, flow.prior);
            for (index_t n = 0; n < count; ++n)
                outputs.bits_per_dim[first + n] = config.bits_per_dim(logdet[n] + prior[n]);
        }
        const auto store = [&](const double* values, double* output) {
            if (output != nullptr && values != nullptr) download(context.exec, count, values, output + first);
        };
        store(flow.logdet, outputs.logdet);
        store(flow.prior, outputs.prior);
        store(flow.bits_y, outputs.bits_y);
        store(flow.error_y, outputs.error_y);
        store(flow.minus_log_q, outputs.minus_log_q);
    });
}

void evaluate_split(const RunnableModel& model, const SplitImages& images, const Slice& slice,
                    const Noise& noise, std::uint64_t draw, const EvaluationOutputs& outputs,
                    const std::function<void(index_t done)>& progress) {
    const index_t at_once = std::min(model.buffers.capacity, slice.count), end = slice.first + slice.count;
    std::vector<index_t> order(static_cast<std::size_t>(at_once));
    std::vector<std::uint64_t> numbers(order.size());
    std::vector<std::uint8_t> pixels(order.size() * static_cast<std::size_t>(images.set().image_bytes()));
    for (index_t first = slice.first; first < end; first += at_once) {
        const index_t count = std::min(at_once, end - first);
        std::iota(order.begin(), order.begin() + count, first);
        for (index_t n = 0; n < count; ++n) numbers[n] = noise_item(order[n], draw);
        {
            const ScopedTimeout timeout("reading images");
            images.gather(order.data(), count, pixels.data());
        }
        evaluate(model, {count, pixels.data(), numbers.data(), images.labels(first)}, noise,
                 outputs.from(first));
        if (progress) progress(first + count - slice.first);
    }
}

}  // namespace glow
