// CIFAR-10 records.
#include "data/cifar10.h"

#include <vector>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    const fuzz::MemoryFile file(bytes, size);
    return fuzz::attempt([&] {
        const Cifar10File records = check_cifar10_file(file.path());
        std::vector<std::uint8_t> image(kCifar10ImageBytes);
        std::int32_t label = 0;
        for (index_t n = 0; n < records.records; ++n) read_cifar10(records, n, 1, image.data(), &label);
    });
}
