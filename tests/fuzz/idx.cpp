// IDX files, plain and compressed.
#include "data/idx.h"

#include <vector>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    const fuzz::MemoryFile file(bytes, size);
    return fuzz::attempt([&] {
        IdxReader reader(file.path());
        if (reader.row_bytes() > 1 << 20) return;  // bounds the reader's memory
        std::vector<std::uint8_t> row(static_cast<std::size_t>(reader.row_bytes()));
        for (index_t n = 0; n < reader.rows(); ++n) reader.read(1, row.data());
    });
}
