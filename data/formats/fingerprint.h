// Checksum that identifies files and models: FNV-1a, 64 bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace glow {

// Continues from `hash`.
inline std::uint64_t fingerprint(const void* bytes, std::size_t count,
                                 std::uint64_t hash = 0xcbf29ce484222325u) {
    const auto* const byte = static_cast<const unsigned char*>(bytes);
    for (std::size_t i = 0; i < count; ++i) hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

}  // namespace glow
