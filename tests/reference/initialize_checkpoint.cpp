// Usage: initialize_checkpoint CHECKPOINT DATA OUT
// Data-dependent initialization of a given checkpoint's weights; the commands only do this for weights drawn
// from a seed. Uses all of /train/images, with u = 1/2.
#include <cstdio>
#include <exception>

#include "data/dataset.h"
#include "inference/model_file.h"
#include "kernels/dequantize.h"
#include "layers/weights.h"
#include "train/memory_plan.h"
#include "train/trainer.h"

namespace {

using namespace glow;

void initialize(const char* from, const char* data, const char* to) {
    const CheckpointInfo info = read_checkpoint_info(from);
    const ImageSet images = load_split(data, "train");
    TrainingOptions options;
    options.model = info.model;
    options.batch = options.init_batch = images.N;
    const Backend backend(Device::cpu, 1);
    const MemoryPlan plan = memory_plan(options, options.init_batch, backend);
    MemoryBytes capacity = plan.bytes;
    at(capacity, Category::stored) = plan.fallback_stored;
    Memory memory(Device::cpu, capacity);
    Trainer trainer(options, backend, memory);
    Glow& model = trainer.glow();
    const Exec& exec = trainer.context().exec;
    const Weights& weights = trainer.weights();
    load_checkpoint(from, model.parameters(), exec, {.params = weights.params, .fixed = weights.fixed});

    model.parameters().bind(weights.params);
    model.parameters().bind_fixed(weights.fixed);
    Flow flow = trainer.buffers().flow(images.N, images.labels.empty() ? nullptr : images.labels.data());
    dequantize(exec, {images.N, info.model.dimensions(), info.model.n_bits, images.images.data()},
               {.kind = Dequantization::center}, flow.h);
    model.initialize(trainer.context(), flow);
    save_checkpoint(to, info.config, {}, nullptr, model.parameters(), exec,
                    {.params = weights.params, .fixed = weights.fixed});
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: initialize_checkpoint CHECKPOINT DATA OUT\n");
        return 2;
    }
    try {
        initialize(argv[1], argv[2], argv[3]);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "initialize_checkpoint: error: %s\n", error.what());
        return 1;
    }
}
