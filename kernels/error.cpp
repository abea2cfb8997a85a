#include "kernels/error.h"

namespace glow {

void throw_error(const std::string& message) {
    throw Error(message);
}

void throw_cuda_error(const char* call, int code, const char* name, const char* file, int line) {
    throw Error(std::string(file) + ":" + std::to_string(line) + ": " + call + " failed: " + name + " (" +
                std::to_string(code) + ")");
}

}  // namespace glow
