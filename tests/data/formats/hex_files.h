// Files of tests, written in hexadecimal.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace glow::make {

using NamedFiles = std::vector<std::pair<std::string, std::string>>;  // name, bytes

inline NamedFiles from_hexadecimal(const NamedFiles& hexadecimal) {
    NamedFiles files;
    for (const auto& [name, digits] : hexadecimal) {
        auto& bytes = files.emplace_back(name, "").second;
        for (std::size_t i = 0; i < digits.size(); i += 2)
            bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    }
    return files;
}
inline std::string file_named(const NamedFiles& files, const std::string& name) {
    for (const auto& [found, bytes] : files)
        if (found == name) return bytes;
    return "";
}

}  // namespace glow::make
