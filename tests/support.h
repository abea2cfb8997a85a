// Random test data, and an Exec for the CPU.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/base.h"

namespace glow::test {

class Random {
  public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}
    double normal() { return normal_(engine_); }
    double uniform(double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(engine_);
    }
    int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }

    template <class T = double>
    std::vector<T> normals(index_t count, double scale = 1) {
        std::vector<T> values(static_cast<std::size_t>(count));
        for (T& value : values) value = static_cast<T>(scale * normal());
        return values;
    }
    // Small integers: sums of products are exact in float, so results can be compared exactly.
    template <class T>
    std::vector<T> integers(index_t count, int low = -4, int high = 4) {
        std::vector<T> values(static_cast<std::size_t>(count));
        for (T& value : values) value = static_cast<T>(integer(low, high));
        return values;
    }

  private:
    std::mt19937_64 engine_;
    std::normal_distribution<double> normal_;
};

inline Exec cpu(int threads = 2) {
    return {Device::cpu, threads, nullptr};
}

}  // namespace glow::test
