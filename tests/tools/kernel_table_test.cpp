// Records of kernels by way of a stand-in for CUPTI, and their table.
#include "tools/kernel_table.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/error.h"

namespace glow {
namespace {

TEST(KernelName, LeavesOutNamespacesAndParameters) {
    EXPECT_EQ(
        short_kernel_name(
            "void glow::f32::flat_kernel<glow::f32::(anonymous namespace)::Fill<float> >(long, glow::f32::Fill<float>)"),
        "flat_kernel<Fill<float> >");
    EXPECT_EQ(short_kernel_name("void cutlass::Kernel2<cutlass_80_simt>(cutlass_80_simt::Params)"),
              "cutlass::Kernel2<cutlass_80_simt>");
    EXPECT_EQ(short_kernel_name("nvjet_hsh_256x128"), "nvjet_hsh_256x128");
    EXPECT_EQ(short_kernel_name("[copy]"), "[copy]");
}

// Two passes: an unfolding of two kernels whose bytes are known, a product, and a copy that carries no mark.
TEST(KernelTable, SumsByNameAndSharesBandwidth) {
    std::vector<KernelRecord> records;
    for (const std::uint64_t mark : {1, 3}) {
        records.push_back({"void unfold<float>(int)", 3e-6, mark});
        records.push_back({"void fold<float>(int)", 1e-6, mark});
        records.push_back({"nvjet", 10e-6, mark + 1});
        records.push_back({"[copy]", 2e-6, 0});
    }
    const std::vector<Launch> launches = {{"im2col", 8e6}, {"gemm", 0}, {"im2col", 4e6}, {"gemm", 0}};
    const std::vector<KernelRow> rows = kernel_table(records, launches, 2);
    ASSERT_EQ(rows.size(), 4u);
    EXPECT_EQ(rows[0].name, "gemm nvjet");
    EXPECT_DOUBLE_EQ(rows[0].seconds, 10e-6);
    EXPECT_DOUBLE_EQ(rows[0].calls, 1);
    EXPECT_EQ(rows[0].bytes, 0);
    EXPECT_EQ(rows[1].name, "im2col unfold<float>");
    EXPECT_DOUBLE_EQ(rows[1].seconds, 3e-6);
    // 12 MB in the 8 us of both launches, their folds included.
    EXPECT_DOUBLE_EQ(rows[1].bytes, 6e6);
    EXPECT_DOUBLE_EQ(rows[1].seconds_of_bytes, 4e-6);
    EXPECT_EQ(rows[2].name, "[copy]");
    EXPECT_EQ(rows[3].name, "im2col fold<float>");
    EXPECT_EQ(rows[3].bytes, 0);
    const std::string text = describe(rows, 3e12);
    EXPECT_NE(text.find("0.50  im2col unfold<float>"), std::string::npos) << text;
    EXPECT_NE(text.find("0.016  1.000      4.0"), std::string::npos) << text;
}

// Products of two shapes, which take two kernels: each row has the bytes of its own launches.
TEST(KernelTable, KernelsOfOneNameShareNoBytes) {
    const std::vector<KernelRecord> records = {{"large", 8e-6, 1}, {"small", 2e-6, 2}, {"reduce", 1e-6, 2}};
    const std::vector<KernelRow> rows = kernel_table(records, {{"gemm", 8e6}, {"gemm", 1e6}}, 1);
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_EQ(rows[0].name, "gemm large");
    EXPECT_EQ(rows[0].bytes, 8e6);
    EXPECT_DOUBLE_EQ(rows[0].seconds_of_bytes, 8e-6);
    EXPECT_EQ(rows[1].name, "gemm small");
    EXPECT_EQ(rows[1].bytes, 1e6);
    EXPECT_DOUBLE_EQ(rows[1].seconds_of_bytes, 3e-6);
    EXPECT_EQ(rows[2].bytes, 0);
}

TEST(KernelProfiler, RejectsWithoutCupti) {
    try {
        open_kernel_profiler("/nonexistent/libcupti.so");
        FAIL();
    } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("CUPTI"), std::string::npos) << error.what();
    }
}

#ifdef GLOW_FAKE_CUPTI
TEST(KernelProfiler, RecordsKernelsWithTheirMarks) {
    const auto profiler = open_kernel_profiler(GLOW_FAKE_CUPTI);
    void* const library = dlopen(GLOW_FAKE_CUPTI, RTLD_NOW);
    const auto launch =
        reinterpret_cast<void (*)(const char*, std::uint64_t, std::uint64_t)>(dlsym(library, "fake_launch"));
    ASSERT_NE(launch, nullptr);
    launch("_Z6unfoldi", 100, 350);
    profiler->mark(7);
    launch("nvjet", 500, 600);
    launch("", 400, 450);
    profiler->mark(8);
    launch("nvjet", 700, 900);
    const std::vector<KernelRecord> records = profiler->take();
    ASSERT_EQ(records.size(), 4u);
    const auto expect = [&](std::size_t i, const char* name, double nanoseconds, std::uint64_t mark) {
        EXPECT_EQ(records[i].name, name);
        EXPECT_NEAR(records[i].seconds, nanoseconds * 1e-9, 1e-15);
        EXPECT_EQ(records[i].mark, mark);
    };
    expect(0, "unfold(int)", 250, 0);
    expect(1, "[copy]", 50, 7);
    expect(2, "nvjet", 100, 7);
    expect(3, "nvjet", 200, 8);
    EXPECT_TRUE(profiler->take().empty());
}

TEST(KernelProfiler, TableSharesBandwidthOfMarkedLaunches) {
    const auto profiler = open_kernel_profiler(GLOW_FAKE_CUPTI);
    const auto run = reinterpret_cast<void (*)(const char*, std::uint64_t, std::uint64_t)>(
        dlsym(dlopen(GLOW_FAKE_CUPTI, RTLD_NOW), "fake_launch"));
    MarkedLaunches launches(*profiler);
    launches.launch("warm-up", 1e9);
    run("warm", 0, 100);
    profiler->take();
    launches.clear();
    launches.launch("fill", 4e3);
    run("flat", 100, 300);
    launches.launch("gemm", 0);
    run("nvjet", 300, 800);
    const std::vector<KernelRow> rows = kernel_table(profiler->take(), launches.launches(), 1);
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0].name, "gemm nvjet");
    EXPECT_EQ(rows[1].name, "fill flat");
    EXPECT_EQ(rows[1].bytes, 4e3);
    EXPECT_NEAR(rows[1].seconds_of_bytes, 200e-9, 1e-15);
}
#endif

}  // namespace
}  // namespace glow
