// Every kernel on a GPU against the same kernel on the CPU, which the other tests check. Without a GPU, the
// GPU code paths run on the CPU. The cases are in *_parity_test.cpp.
#pragma once

#include <limits>
#include <vector>

#include "kernels/math.h"
#include "tests/device_parity.h"

namespace glow::test {

// Double results differ by summation order and fused operations; float results are then rounded, bf16 ones to
// 8 bits. Long sums have their own bound: sum_error.
inline constexpr double kDouble = 1e-12, kFloat = 1e-6, kNarrow = 8e-3;
template <class T>
constexpr double kRounding = sizeof(T) == 8   ? kDouble
                             : sizeof(T) == 4 ? kFloat
                                              : kNarrow;

template <class T>
std::vector<T> rounded(const std::vector<double>& values) {
    std::vector<T> narrow(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) narrow[i] = round_to<T>(values[i]);
    return narrow;
}
template <class T>
std::vector<T> nans(index_t count) {
    return std::vector<T>(static_cast<std::size_t>(count),
                          round_to<T>(std::numeric_limits<double>::quiet_NaN()));
}

// The suite of all kernels. Cases share functions that take it, so they may call its checks.
class KernelParity : public DeviceParityTest {
  public:
    using DeviceParityTest::expect_parity;
    using DeviceParityTest::target;
};

}  // namespace glow::test
