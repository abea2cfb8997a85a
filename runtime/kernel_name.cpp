#include <algorithm>
#include <string>

#include "runtime/kernel_profiler.h"

namespace glow {

std::string short_kernel_name(const std::string& name) {
    std::string text = name;
    // The parameters: the last parenthesis outside of template arguments; "(anonymous namespace)" is none.
    for (const std::string& noise : {std::string("(anonymous namespace)::"), std::string("void "),
                                     std::string("glow::"), std::string("f32::"), std::string("f64::")})
        for (std::size_t at = 0; (at = text.find(noise, at)) != std::string::npos;)
            text.erase(at, noise.size());
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '<') ++depth;
        if (text[i] == '>') --depth;
        if (text[i] == '(' && depth == 0 && i > 0) {
            text.resize(i);
            break;
        }
    }
    return text;
}

}  // namespace glow
