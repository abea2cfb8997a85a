// Checkpoints: description and all tensors, for the model that the file claims if it is small.
#include <vector>

#include "inference/model_file.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    const fuzz::MemoryFile file(bytes, size);
    return fuzz::attempt([&] {
        const CheckpointInfo info = read_checkpoint_info(file.path());
        if (info.model.width > 64 || info.model.levels * info.model.depth > 16 || info.model.n_classes > 100)
            return;
        static const Backend backend(Device::cpu, 1);
        Glow glow(info.model, {Precision::fp32, 0});
        const Parameters& parameters = glow.parameters();
        std::vector<float> params(static_cast<std::size_t>(parameters.size())),
            fixed(static_cast<std::size_t>(parameters.fixed_size()));
        load_checkpoint(file.path(), parameters, backend.exec(),
                        {params.data(), nullptr, nullptr, nullptr, fixed.data()});
    });
}
