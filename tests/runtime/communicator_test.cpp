// Reductions, copies and their order, on as many processes as the launcher starts; every process runs the
// same tests.
#include "runtime/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

#include "kernels/error.h"
#include "tests/expect_throw.h"
#include "tests/support.h"

namespace glow {
namespace {

Communicator* g_processes = nullptr;  // opened by main(), because MPI can only be initialized once

// Reproducible values of rank r.
template <class T>
std::vector<T> brought(int r, index_t count) {
    return test::Random(static_cast<std::uint64_t>(17 + r)).normals<T>(count);
}

// Reference: added in rank order, as documented.
template <class T>
std::vector<T> added(index_t count) {
    std::vector<T> sum = brought<T>(0, count);
    for (int r = 1; r < g_processes->size(); ++r) {
        const std::vector<T> more = brought<T>(r, count);
        for (index_t i = 0; i < count; ++i) sum[i] += more[i];
    }
    return sum;
}

struct Scratch {
    Scratch()
        : bytes(g_processes->scratch_bytes(test::cpu(), kBucketElements)),
          memory(bytes + 64, std::byte{0x5a}) {}
    ~Scratch() {
        for (std::size_t i = bytes; i < memory.size(); ++i) EXPECT_EQ(memory[i], std::byte{0x5a});
    }
    std::size_t bytes;
    std::vector<std::byte> memory;
};

// Fewer elements than processes, one bucket, slightly more, and many.
const index_t kCounts[] = {0, 1, 3, 1000, kBucketElements, kBucketElements + 1, 3 * kBucketElements + 12345};

TEST(Communicator, HostSumsFollowRankOrder) {
    for (const index_t count : {0, 1, 3, 1000, 30001}) {
        std::vector<double> values = brought<double>(g_processes->rank(), count);
        g_processes->all_reduce_sum(count, values.data());
        EXPECT_EQ(values, added<double>(count)) << count;
        values = brought<double>(g_processes->rank(), count);
        g_processes->all_reduce_sum(test::cpu(), count, values.data());
        EXPECT_EQ(values, added<double>(count)) << count;
    }
    EXPECT_EQ(g_processes->all_reduce_sum(1.5), 1.5 * g_processes->size());
}

TEST(Communicator, AsyncSumsFollowRankOrder) {
    Scratch scratch;
    for (const index_t count : kCounts) {
        std::vector<float> values = brought<float>(g_processes->rank(), count);
        g_processes->all_reduce_async(test::cpu(), count, values.data(), scratch.memory.data());
        g_processes->finish_all_reduces(test::cpu());
        EXPECT_EQ(values, added<float>(count)) << count;
    }
}

TEST(Communicator, SupportsConcurrentAllReduces) {
    Scratch scratch;
    const index_t count = 50000;
    std::vector<float> values = brought<float>(g_processes->rank(), 10 * count);
    for (index_t first = 9 * count; first >= 0; first -= count)
        g_processes->all_reduce_async(test::cpu(), count, values.data() + first, scratch.memory.data());
    EXPECT_EQ(g_processes->all_reduce_sum(1), g_processes->size());  // waits behind them
    g_processes->finish_all_reduces(test::cpu());
    EXPECT_EQ(values, added<float>(10 * count));
}

TEST(Communicator, MaximumPropagatesNaN) {
    const int r = g_processes->rank(), last = g_processes->size() - 1;
    std::vector<double> values = {static_cast<double>(r), -static_cast<double>(r), r == last ? NAN : 1.0,
                                  r == 0 ? NAN : 5.0, r == last ? INFINITY : -INFINITY};
    g_processes->all_reduce_max(5, values.data());
    EXPECT_EQ(values[0], last);
    EXPECT_EQ(values[1], 0);
    EXPECT_TRUE(std::isnan(values[2]));
    EXPECT_TRUE(std::isnan(values[3]));
    EXPECT_EQ(values[4], INFINITY);
    EXPECT_EQ(g_processes->all_reduce_max(r), last);
}

TEST(Communicator, BroadcastSendsRootBytes) {
    for (const std::size_t count : {0, 1, 2, 5, 999, 1 << 20}) {
        const std::vector<float> first = brought<float>(0, static_cast<index_t>(count));
        std::vector<float> values = brought<float>(g_processes->rank(), static_cast<index_t>(count));
        g_processes->broadcast(count * sizeof(float), values.data());
        EXPECT_EQ(values, first) << count;
    }
}

TEST(Communicator, AllGatherPlacesEverySlice) {
    for (const index_t total : {0, 1, 4, 1000}) {
        std::vector<double> values(static_cast<std::size_t>(total), -1), expected;
        for (index_t i = 0; i < total; ++i) expected.push_back(std::sqrt(i));
        const Slice mine = g_processes->slice(total);
        std::copy_n(expected.begin() + mine.first, mine.count, values.begin() + mine.first);
        g_processes->all_gather_slices(total, sizeof(double), values.data());
        EXPECT_EQ(values, expected) << total;
    }
}

TEST(Communicator, BroadcastsTheTextOfRank0) {
    const int r = g_processes->rank();
    EXPECT_EQ(broadcast_text(*g_processes, r == 0 ? "what the first one says" : std::string(100, 'x')),
              "what the first one says");
    EXPECT_EQ(broadcast_text(*g_processes, r == 0 ? "" : "x"), "");
}

TEST(Communicator, GathersTexts) {
    const int r = g_processes->rank();
    const std::vector<std::string> texts =
        gather_texts(*g_processes, std::string(r == 1 ? 600 : static_cast<std::size_t>(r), 'x'));
    ASSERT_EQ(std::ssize(texts), g_processes->size());
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], std::string(i == 1 ? 511 : i, 'x'));
}

TEST(Communicator, RefusesMixedDevicesOnAllRanks) {
    const int last = g_processes->size() - 1;
    const bool mine_fails = g_processes->rank() == last;
    require_equal_devices(*g_processes, Device::cpu, mine_fails ? "no driver" : "");
    require_equal_devices(*g_processes, Device::cuda, "");
    if (last == 0) return;
    expect_throw<InputError>(
        [&] {
            require_equal_devices(*g_processes, mine_fails ? Device::cpu : Device::cuda,
                                  mine_fails ? "no driver" : "");
        },
        {"rank 0", "uses a GPU", "rank " + std::to_string(last), "no driver", "--device"});
}

TEST(Communicator, NamesRanksWithFewerThreadsThanRequested) {
    const int rank = g_processes->rank(), size = g_processes->size();
    const ThreadCount all{.used = 2, .requested = 2, .limit = ""},
        one{.used = 1, .requested = 2, .limit = "a limit"};
    EXPECT_EQ(thread_warning(*g_processes, all), "");
    const std::string text = "threads 1 (asked for 2; a limit)",
                      host = " on " + g_processes->group().hosts.back();
    const auto expected = [&](int first, const std::string& more) {
        return size == 1 ? text : text + " on rank " + std::to_string(first) + host + more;
    };
    EXPECT_EQ(thread_warning(*g_processes, rank == size - 1 ? one : all), expected(size - 1, ""));
    const std::string more =
        size == 2 ? " and 1 more rank" : " and " + std::to_string(size - 1) + " more ranks";
    EXPECT_EQ(thread_warning(*g_processes, one), expected(0, more));
}

TEST(Communicator, KnowsRankAndSize) {
    const ProcessGroup& group = g_processes->group();
    EXPECT_EQ(group.hosts.size(), static_cast<std::size_t>(group.size));
    EXPECT_EQ(group.local_size, group.size);  // one machine
    EXPECT_EQ(group.local_rank, group.rank);
    // The processes share the machine's processors, unless there are fewer.
    EXPECT_LE(g_processes->all_reduce_sum(group.mask_share),
              std::max<double>(group.size, std::thread::hardware_concurrency()));
    double ranks = 0;
    for (int r = 0; r < group.size; ++r) ranks += r;
    EXPECT_EQ(g_processes->all_reduce_sum(group.rank), ranks);
}

TEST(Communicator, RejectsNcclOnTheCpu) {
    EXPECT_THROW(open_communicator(CommunicatorKind::nccl, Device::cpu), InputError);
}

}  // namespace
}  // namespace glow

// What ends a run (CMakeLists.txt says with which message); 60 s later than it should, it ends well.
void misbehave(const std::string& how, glow::Communicator& processes) {
    const bool last = processes.rank() == processes.size() - 1;
    const auto sleep = [] { std::this_thread::sleep_for(std::chrono::seconds(60)); };
    if (how == "fault" && processes.is_root())  // as NCCL reports one
        processes.watch([] { return "a made-up fault"; }, [] { std::fputs("before the end\n", stderr); });
    if (how == "stop" && last) raise(SIGSTOP);
    if (how == "stop while rank 0 writes") {
        if (last) raise(SIGSTOP);
        const glow::ScopedTimeout timeout("writing");
        if (processes.is_root()) sleep();
    }
    if (how == "hang" && last) sleep();
    if (how == "fault") sleep();
    processes.barrier();
}

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    const auto processes = glow::open_communicator(glow::CommunicatorKind::automatic, glow::Device::cpu);
    glow::g_processes = processes.get();
    if (const char* const how = std::getenv("GLOW_TEST_FAULT")) {
        misbehave(how, *processes);
        return 0;
    }
    if (!processes->is_root()) testing::GTEST_FLAG(brief) = true;
    const int failed = RUN_ALL_TESTS();
    return processes->all_reduce_max(failed) > 0 ? 1 : 0;
}
