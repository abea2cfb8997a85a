// Runs the same kernels on two devices, with guard bytes after every array, and compares the results.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/math.h"
#include "runtime/context.h"
#include "runtime/device.h"
#include "tests/support.h"

namespace glow::test {

// The second device: the GPU, or the CPU taking the GPU code paths.
struct Target {
    const char* name;
    Device device;
    bool use_gpu_paths;
};
inline void PrintTo(const Target& target, std::ostream* out) {
    *out << target.name;
}
inline const Target kGpuPaths{"gpu_paths", Device::cpu, true}, kCuda{"cuda", Device::cuda, false};

// Bound on the difference of two sums of the same `terms` numbers in different orders: each is within terms *
// epsilon * (sum of absolute values) of the exact one. A tolerance relative to the result would be too small
// if terms cancel.
template <class T, class Values>
double sum_error(index_t terms, const Values& values) {
    double size = 0;
    for (const auto& value : values) size += std::abs(static_cast<double>(widen(value)));
    return static_cast<double>(terms) * std::numeric_limits<T>::epsilon() * size;  // 2 * unit roundoff
}
// The same for column sums of [rows, columns] with row stride `stride`: the bound of each column.
template <class T, class Values>
std::vector<double> column_sum_errors(index_t rows, index_t columns, index_t stride, const Values& values) {
    std::vector<double> errors;
    for (index_t c = 0; c < columns; ++c) {
        std::vector<double> column;
        for (index_t row = 0; row < rows; ++row) column.push_back(widen(values[row * stride + c]));
        errors.push_back(sum_error<T>(rows, column));
    }
    return errors;
}

// A device and its copies of a test's arrays.
class DeviceUnderTest {
  public:
    explicit DeviceUnderTest(const Exec& exec) : exec(exec) {}

    const Exec exec;

    // A copy of `values` on the device.
    template <class T>
    T* in(const std::vector<T>& values) {
        const std::size_t bytes = values.size() * sizeof(T);
        Array array;
        array.bytes = bytes;
        array.memory = exec.device == Device::cuda ? device_memory(bytes + kGuardBytes)
                                                   : host_memory(Device::cpu, bytes + kGuardBytes);
        std::vector<std::byte> filled(bytes + kGuardBytes, kGuard);
        if (bytes > 0) std::memcpy(filled.data(), values.data(), bytes);
        upload_bytes(exec, filled.size(), filled.data(), array.memory.get());
        arrays_.push_back(array);
        return static_cast<T*>(array.memory.get());
    }
    // The same, compared afterwards. errors: allowed difference per element (or one number for all) in
    // addition to the comparison's tolerance; none by default.
    template <class T>
    T* out(const std::vector<T>& values, std::vector<double> errors = {0}) {
        T* const array = in(values);
        const auto count = static_cast<index_t>(values.size());
        if (errors.size() == 1) errors.resize(values.size(), errors[0]);
        errors_.push_back(std::move(errors));
        results_.push_back([this, array, count] {
            std::vector<double> numbers;
            for (const T& value : downloaded(exec, count, array)) {
                if constexpr (std::is_integral_v<T>)
                    numbers.push_back(static_cast<double>(value));
                else
                    numbers.push_back(widen(value));
            }
            return numbers;
        });
        return array;
    }
    template <class T>
    T* scratch(index_t count) {
        return in(std::vector<T>(static_cast<std::size_t>(count)));
    }

    // Allowed differences for each array of results().
    const std::vector<std::vector<double>>& errors() const { return errors_; }
    // The contents of each array after the kernels; checks that nothing was written past its end.
    std::vector<std::vector<double>> results() const {
        for (const Array& array : arrays_) {
            std::vector<std::byte> all(array.bytes + kGuardBytes);
            download_bytes(exec, all.size(), array.memory.get(), all.data());
            for (std::size_t i = array.bytes; i < all.size(); ++i)
                EXPECT_EQ(all[i], kGuard)
                    << "written past the end of an array of " << array.bytes << " bytes";
        }
        std::vector<std::vector<double>> all;
        for (const auto& result : results_) all.push_back(result());
        return all;
    }

  private:
    static constexpr std::byte kGuard{0xA5};
    static constexpr std::size_t kGuardBytes = 64;
    struct Array {
        std::shared_ptr<void> memory;
        std::size_t bytes;
    };
    std::vector<Array> arrays_;
    std::vector<std::vector<double>> errors_;
    std::vector<std::function<std::vector<double>()>> results_;
};

// Compares a device with the plain CPU. Skipped, with the reason, if the device is not available.
class DeviceParityTest : public testing::TestWithParam<Target> {
  protected:
    void SetUp() override {
        if (GetParam().device != Device::cuda) return;
        const std::string problem = cuda_problem();
        if (!problem.empty()) GTEST_SKIP() << problem;
        backend_ = std::make_unique<Backend>(Device::cuda, 2);
    }
    Exec target() const {
        if (backend_) return backend_->exec();
        Exec exec = cpu();
        exec.use_gpu_paths = GetParam().use_gpu_paths;
        return exec;
    }

    // Calls run(device) for both devices and compares the arrays of out(). Values may differ by `tolerance`
    // times (1 + |value|), plus the array's own errors; NaN equals NaN.
    void expect_parity(double tolerance, const std::function<void(DeviceUnderTest&)>& run) {
        DeviceUnderTest plain(cpu()), other(target());
        run(plain);
        run(other);
        const auto expected = plain.results(), found = other.results();
        ASSERT_EQ(expected.size(), found.size());
        ASSERT_GT(expected.size(), 0u);
        for (std::size_t a = 0; a < expected.size(); ++a) {
            ASSERT_EQ(plain.errors()[a].size(), expected[a].size());
            for (std::size_t i = 0; i < expected[a].size(); ++i) {
                if (std::isnan(expected[a][i]) && std::isnan(found[a][i])) continue;
                if (expected[a][i] == found[a][i]) continue;  // covers infinities
                ASSERT_NEAR(found[a][i], expected[a][i],
                            tolerance * (1 + std::abs(expected[a][i])) + plain.errors()[a][i])
                    << "array " << a << ", element " << i;
            }
        }
    }

  private:
    std::unique_ptr<Backend> backend_;
};

inline std::string target_name(const testing::TestParamInfo<Target>& info) {
    return info.param.name;
}

}  // namespace glow::test
