// Squared norms and checksums, on a GPU against the CPU.
#include <gtest/gtest.h>

#include "kernels/flat_sums.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::kDouble;
using test::KernelParity;
using test::nans;
using test::Random;

TEST_P(KernelParity, FlatSums) {
    Random random(14);
    for (const index_t count : {1, 16384, 16385, 100003}) {
        const auto x = random.normals<real>(count);
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            sum_of_squares(device.exec, count, device.in(x), device.out(nans<double>(1)),
                           device.scratch<double>(square_scratch()));
        });
        expect_parity(0, [&](DeviceUnderTest& device) {  // integers: exact in any order
            checksum(device.exec, count, device.in(x), device.out(nans<double>(1)),
                     device.scratch<double>(square_scratch()));
        });
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL
