// The dictionary of a .npy header, without the checksum that random bytes never pass.
#include "data/formats/npy.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    return fuzz::attempt([&] { parse_npy_header(std::string(bytes, bytes + size), "input"); });
}
