#include "runtime/device.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "runtime/context.h"
#include "runtime/cuda.h"
#include "runtime/cuda_graph.h"
#include "runtime/forked_stream.h"
#include "runtime/trace.h"
#include "tests/support.h"

namespace glow {
namespace {

TEST(Device, ParsesNames) {
    EXPECT_EQ(parse_device("cpu"), Device::cpu);
    EXPECT_EQ(parse_device("cuda"), Device::cuda);
    EXPECT_EQ(parse_device("auto"), cuda_problem().empty() ? Device::cuda : Device::cpu);
    for (const char* name : {"", "CPU", "gpu", "cuda:0"})
        EXPECT_THROW(parse_device(name), InputError) << name;
    EXPECT_EQ(to_string(Device::cuda), "cuda");
}

// Without a GPU, requests for one fail with a reason and a remedy; there is no silent fallback.
TEST(Device, RejectsGpuUseWithoutGpu) {
    const std::string problem = cuda_problem();
    if (problem.empty()) GTEST_SKIP() << "this machine has a GPU";
    try {
        const Backend backend(Device::cuda);
        FAIL() << "a backend without a device";
    } catch (const InputError& error) {
        const std::string text = error.what();
        EXPECT_NE(text.find("--device cuda: " + problem), std::string::npos) << text;
        EXPECT_NE(text.find("--device cpu"), std::string::npos) << text;
    }
    EXPECT_EQ(device_bytes_in_use(), 0u);
    EXPECT_NO_THROW(Arena(Device::cuda, Category::state, 0));
    EXPECT_THROW(Arena(Device::cuda, Category::state, 64), Error);
}

TEST(Device, ReportsVersions) {
    const auto versions = cuda::library_versions();
    ASSERT_EQ(versions.size(), 3u);
    EXPECT_EQ(versions[0].first, "cuBLAS");
    EXPECT_EQ(versions[1].first, "cuDNN");
    EXPECT_EQ(versions[2].first, "cuSOLVER");
#if defined(GLOW_WITH_CUDA)
    for (const int i : {0, 2})
        EXPECT_NE(versions[i].second.find('.'), std::string::npos) << versions[i].second;
#else
    for (const auto& [library, version] : versions) EXPECT_EQ(version, "no") << library;
#endif
}

class OnDevice : public testing::TestWithParam<Device> {
  protected:
    void SetUp() override {
        if (GetParam() == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
        backend_ = std::make_unique<Backend>(GetParam(), 2);
    }
    const Exec& exec() const { return backend_->exec(); }

  private:
    std::unique_ptr<Backend> backend_;
};
INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::Values(Device::cpu, Device::cuda),
                         [](const auto& info) { return to_string(info.param); });

TEST_P(OnDevice, CopiesRoundTrip) {
    Arena arena(GetParam(), Category::state, 1 << 16);
    std::vector<int> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 5);
    int* const there = arena.take<int>(1000);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(there) % kAlignment, 0u);
    upload(exec(), 1000, numbers.data(), there);
    EXPECT_EQ(downloaded(exec(), 1000, there), numbers);
    EXPECT_EQ(downloaded(exec(), 3, there + 7), (std::vector<int>{12, 13, 14}));
    upload(exec(), 0, numbers.data(), there);
    const HostArray<int> pinned(GetParam(), 1000);
    download(exec(), 1000, there, pinned.data());
    EXPECT_EQ(pinned[999], 1004);
}

TEST_P(OnDevice, CopiesFollowEarlierKernels) {
    Arena arena(GetParam(), Category::state, 1 << 22);
    float* const x = arena.take<float>(1 << 19);
    for (const float value : {1.0f, 2.0f, 3.0f}) {
        fill(exec(), 1 << 19, value, x);
        EXPECT_EQ(downloaded(exec(), 1 << 19, x), std::vector<float>(1 << 19, value));
    }
    synchronize(exec());
}

// A captured graph depends on its arguments' addresses, not on the values there.
TEST_P(OnDevice, ReplayedGraphRepeatsWork) {
    for (const bool enabled : {false, true}) {
        Arena arena(GetParam(), Category::state, 1 << 16);
        double* const x = arena.take<double>(100);
        double* const y = arena.take<double>(100);
        fill(exec(), 100, 0.0, y);
        CudaGraph graph;
        int issued = 0;
        for (int time = 0; time < 5; ++time) {
            upload(exec(), 100, std::vector<double>(100, time).data(), x);
            CudaGraph::Capture capture(graph, exec(), enabled);
            if (capture.issues()) {
                ++issued;
                copy(exec(), 100, x, y);
            }
            capture.launch();
            EXPECT_EQ(downloaded(exec(), 100, y), std::vector<double>(100, time));
        }
        const bool captured = enabled && GetParam() == Device::cuda;
        EXPECT_EQ(graph.captured(), captured);
        EXPECT_EQ(issued, captured ? 2 : 5);
    }
}

// Work between two graphs runs every time and may vary; the order is preserved.
TEST_P(OnDevice, WorkBetweenGraphsKeepsOrder) {
    for (const bool enabled : {false, true}) {
        Arena arena(GetParam(), Category::state, 1 << 16);
        double* const x = arena.take<double>(100);
        double* const y = arena.take<double>(100);
        double* const z = arena.take<double>(100);
        CudaGraph before, after;
        fill(exec(), 100, 1.0, x);
        for (int time = 0; time < 5; ++time) {
            CudaGraph::Capture first(before, exec(), enabled);
            if (first.issues()) copy(exec(), 100, x, y);
            first.launch();
            fill(exec(), 100, static_cast<double>(time + 1), x);
            CudaGraph::Capture second(after, exec(), enabled);
            if (second.issues()) copy(exec(), 100, x, z);
            second.launch();
            EXPECT_EQ(downloaded(exec(), 100, y), std::vector<double>(100, time == 0 ? 1 : time));
            EXPECT_EQ(downloaded(exec(), 100, z), std::vector<double>(100, time + 1));
        }
    }
}

// Kernels on two streams run in the order given by fork and join.
TEST_P(OnDevice, ForkedStreamKeepsOrder) {
    constexpr index_t kCount = 1 << 20;
    Arena arena(GetParam(), Category::state, std::size_t{1} << 25);
    double* const x = arena.take<double>(kCount);
    double* const y = arena.take<double>(kCount);
    ForkedStream side(exec());
    for (int time = 0; time < 20; ++time) {
        fill(exec(), kCount, static_cast<double>(time), x);
        side.fork();
        copy(side.exec(), kCount, x, y);
        side.join();
        fill(exec(), kCount, -1.0, x);
        EXPECT_EQ(downloaded(exec(), 1, y)[0], time);
        EXPECT_EQ(downloaded(exec(), 1, y + kCount - 1)[0], time);
    }
    EXPECT_EQ(side.exec().stream != exec().stream, GetParam() == Device::cuda);
}

TEST_P(OnDevice, FailedCaptureLeavesStreamUsable) {
    Arena arena(GetParam(), Category::state, 1 << 16);
    double* const x = arena.take<double>(100);
    CudaGraph graph;
    int issued = 0;
    const auto work = [&] {
        CudaGraph::Capture capture(graph, exec(), true);
        if (capture.issues()) {
            fill(exec(), 100, 7.0, x);
            if (++issued == 2) throw Error("in the middle");
        }
        capture.launch();
    };
    work();
    EXPECT_THROW(work(), Error);
    EXPECT_FALSE(graph.captured());
    work();
    EXPECT_EQ(downloaded(exec(), 100, x), std::vector<double>(100, 7.0));
}

TEST(HostArrays, CpuUsesPlainMemory) {
    const HostArray<double> array(Device::cpu, 10);
    array[9] = 3;
    EXPECT_EQ(array.data()[9], 3);
    EXPECT_NE(HostArray<int>(Device::cpu, 0).data(), nullptr);
    EXPECT_EQ(HostArray<int>().data(), nullptr);
}

TEST(Traces, MayNestWithoutProfiler) {
    const Trace outer("outer");
    const Trace inner("inner");
}

}  // namespace
}  // namespace glow
