// The dictionary at the head of a .npy file, without the check sum before it that random bytes do not pass.
#include "tests/fuzz/input.h"
#include "data/formats/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    return fuzz::attempt([&] { parse_npy_header(std::string(bytes, bytes + size), "input"); });
}
