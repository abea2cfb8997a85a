#include "train/validate.h"

#include <vector>

namespace glow {

Mean mean_bits_per_dim(Trainer& trainer, const SplitImages& images, std::uint64_t seed, bool ema) {
    std::vector<double> bits(static_cast<std::size_t>(images.N()));
    Communicator& processes = trainer.context().communicator;
    trainer.use_ema(ema);
    evaluate_split(trainer.runnable(), images, processes.slice(images.N()),
                   evaluation_noise(trainer.glow().config(), seed), 0, {.bits_per_dim = bits.data()});
    processes.all_gather_slices(images.N(), sizeof(double), bits.data());
    return mean_of(bits.data(), images.N());
}

}  // namespace glow
