// NumPy archives: ZIP, .npy headers, images and labels.
#include "data/npz.h"

#include <vector>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    const fuzz::MemoryFile file(bytes, size);
    return fuzz::attempt([&] {
        NpzSource source({file.path()});
        const SourceInfo& info = source.info();
        if (info.image_bytes() > 1 << 20) return;  // bounds the reader's memory
        std::vector<std::uint8_t> image(static_cast<std::size_t>(info.image_bytes()));
        std::uint8_t usable = 1;
        std::int32_t label = 0;
        for (index_t n = 0; n < info.train; ++n)
            source.read(SourceSplit::train, n, 1, image.data(), info.n_classes > 0 ? &label : nullptr,
                        &usable);
    });
}
