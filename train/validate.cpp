#include "train/validate.h"

#include <algorithm>
#include <vector>

#include "inference/evaluate.h"
#include "inference/flow_buffers.h"

namespace glow {

std::optional<Mean> mean_bits_per_dim(Trainer& trainer, const SplitImages& images, std::uint64_t seed,
                                      bool ema, const std::function<bool()>& stop) {
    std::vector<double> bits(static_cast<std::size_t>(images.N()));
    Communicator& processes = trainer.context().communicator;
    trainer.use_ema(ema);
    const RunnableModel model = trainer.runnable();
    const Slice mine = processes.slice(images.N());
    const index_t at_once = model.buffers.capacity;
    // The same number of batches everywhere, because all ask `stop` together.
    const double batches =
        processes.all_reduce_max(static_cast<double>((mine.count + at_once - 1) / at_once));
    for (index_t batch = 0; static_cast<double>(batch) < batches; ++batch) {
        if (stop && stop()) return {};
        const index_t done = std::min(batch * at_once, mine.count);
        evaluate_split(model, images, {mine.first + done, std::min(at_once, mine.count - done)},
                       evaluation_noise(trainer.glow().config(), seed), 0, {.bits_per_dim = bits.data()});
    }
    processes.all_gather_slices(images.N(), sizeof(double), bits.data());
    return mean_of(bits.data(), images.N());
}

}  // namespace glow
