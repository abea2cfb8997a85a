// Data sets: HDF5 files as training and evaluation read them.
#include "data/dataset.h"

#include <algorithm>
#include <vector>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    const fuzz::MemoryFile file(bytes, size);
    return fuzz::attempt([&] {
        const DatasetInfo info = describe_dataset(file.path());
        for (const char* split : kSplits) {
            if (info.images(split) == 0) continue;
            load_split(file.path(), split);
            const SplitImages images(file.path(), split);
            std::vector<std::uint8_t> image(static_cast<std::size_t>(images.set().image_bytes()));
            for (index_t n = images.N() - 1; n >= std::max<index_t>(0, images.N() - 3); --n)
                images.gather(&n, 1, image.data());
        }
    });
}
