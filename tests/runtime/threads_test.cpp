#include "runtime/threads.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/context.h"
#include "runtime/memory_limit.h"
#include "runtime/openblas.h"
#include "tests/runtime/failing_allocations.h"
#include "tests/support.h"
#include "tests/tools/process.h"

namespace glow {
namespace {

// ---- Products with known results --------------------------------------------------------------------

// [m, k] x [k, n] of small integers, exact in float for any summation order.
struct Known {
    Known(index_t m, index_t n, index_t k) {
        product.m = m;
        product.n = product.ldb = product.ldc = n;
        product.k = product.lda = k;
        test::Random random(static_cast<std::uint64_t>(m * n + k));
        a = random.integers<float>(m * k);
        b = random.integers<float>(k * n);
        expected.resize(static_cast<std::size_t>(m * n));
        for (index_t i = 0; i < m; ++i)
            for (index_t l = 0; l < k; ++l)
                for (index_t j = 0; j < n; ++j) expected[i * n + j] += a[i * k + l] * b[l * n + j];
    }
    Gemm product;
    std::vector<float> a, b, expected;
};

const std::vector<Known>& known() {
    // Narrow products failed most often; the last is divided along k.
    static const std::vector<Known> all = {{64, 117, 16}, {256, 16, 64}, {1024, 64, 512}, {16, 16, 8192}};
    return all;
}

// Number of wrong elements over all products.
index_t wrong_elements(const Backend& backend) {
    index_t wrong = 0;
    for (const Known& one : known()) {
        Arena workspace(Device::cpu, Category::workspace, std::size_t{1} << 26);
        std::vector<float> c(one.expected.size(), -1e6f);
        backend.context(workspace).gemm(one.product, one.a.data(), one.b.data(), c.data());
        for (std::size_t i = 0; i < c.size(); ++i) wrong += c[i] != one.expected[i];
    }
    return wrong;
}

// The largest error of W^-1 W by LAPACK, and of a product in double.
double solver_error(const Backend& backend) {
    const index_t n = 96;
    test::Random random(3);
    std::vector<double> W = random.normals(n * n), inverse(W.size()), unit(W.size());
    for (index_t i = 0; i < n; ++i) W[i * n + i] += 20;
    double log_det = 0, condition = 0;
    backend.solver().invert(1, n, W.data(), inverse.data(), &log_det, &condition);
    Gemm product{.m = n, .n = n, .k = n, .lda = n, .ldb = n, .ldc = n, .in = Scalar::f64, .out = Scalar::f64};
    Arena workspace(Device::cpu, Category::workspace, 1 << 20);
    backend.context(workspace).gemm(product, W.data(), inverse.data(), unit.data());
    double largest = 0;
    for (index_t i = 0; i < n * n; ++i)
        largest = std::max(largest, std::abs(unit[i] - (i % (n + 1) == 0 ? 1.0 : 0.0)));
    return largest;
}

void expect_right(const Backend& backend) {
    EXPECT_EQ(wrong_elements(backend), 0);
    EXPECT_LT(solver_error(backend), 1e-12);  // 96 roundings of condition 3
}

// A fork copies only the thread that calls it. OpenMP would wait for the others forever.
TEST(Threads, ForkedProcessHasOneThread) {
    const Backend backend(Device::cpu, 2);
    if (backend.threads().used < 2) GTEST_SKIP() << describe(backend.threads());
    expect_right(backend);
    EXPECT_EQ(backend.select_device(), nullptr);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);  // ends it if it hangs
        int wrong = 0;
        try {
            const auto scope = backend.select_device();
            wrong = 1;
        } catch (const Error&) {
        }
        const Backend other(Device::cpu, 2);
        if (other.threads().used != 1 || describe(other.threads()).find("forked") == std::string::npos)
            wrong = 2;
        expect_right(other);
        std::thread([&] {
            const Backend own(Device::cpu, 2);
            if (own.threads().used != 2) wrong = 3;
            expect_right(own);
            expect_right(backend);
        }).join();
        _exit(testing::Test::HasFailure() ? 4 : wrong);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_NO_THROW(static_cast<void>(backend.select_device()));
}

// A fork while another thread uses LAPACK, whose number of threads is set meanwhile.
TEST(Threads, ForkedProcessCanUseLapack) {
    std::atomic<bool> done = false;
    std::thread other([&] {
        while (!done) const ScopedBlasThreads scope;
    });
    int failures = 0;
    for (int i = 0; i < 50 && failures == 0; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);  // ends it if it hangs
            { const ScopedBlasThreads scope; }
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        failures += status != 0;
    }
    done = true;
    other.join();
    EXPECT_EQ(failures, 0);
}

// ---- Environment variables that OpenMP reads at program start ------------------------------------------

struct Child {
    int code = 0;
    std::string text;
};

// Runs this program again with one of the tests below that need their own environment.
Child run_again(const std::string& test, const std::vector<std::string>& environment,
                const std::function<void()>& before = {}) {
    int pipes[2];
    EXPECT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        for (const char* const name :
             {"OMP_DYNAMIC", "OMP_THREAD_LIMIT", "OMP_MAX_ACTIVE_LEVELS", "OMP_NESTED", "OMP_NUM_THREADS",
              "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "GTEST_OUTPUT", "XML_OUTPUT_FILE"})
            unsetenv(name);
        for (const std::string& setting : environment) putenv(const_cast<char*>(setting.c_str()));
        if (before) before();
        const std::string filter = "--gtest_filter=" + test;
        execl("/proc/self/exe", "test_runtime", filter.c_str(), "--gtest_also_run_disabled_tests", nullptr);
        _exit(98);
    }
    close(pipes[1]);
    Child result;
    char buffer[4096];
    for (ssize_t got; (got = read(pipes[0], buffer, sizeof(buffer))) > 0;)
        result.text.append(buffer, static_cast<std::size_t>(got));
    close(pipes[0]);
    int status = 0;
    waitpid(child, &status, 0);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return result;
}

int asked() {
    const char* const text = std::getenv("GLOW_TEST_THREADS");
    return text ? std::atoi(text) : 4;
}

TEST(ThreadsChild, DISABLED_ProductsAreCorrect) {
    const Backend backend(Device::cpu, asked());
    std::printf("threads %s\n", describe(backend.threads()).c_str());
    expect_right(backend);
    std::thread([&] { expect_right(backend); }).join();
}

struct Setting {
    std::vector<std::string> environment;
    std::string threads;  // the reported thread count
    int requested = 4;
};
void PrintTo(const Setting& setting, std::ostream* out) {
    *out << "--threads " << setting.requested;
    for (const std::string& word : setting.environment) *out << " " << word;
}

class ThreadsEnvironment : public testing::TestWithParam<Setting> {};

TEST_P(ThreadsEnvironment, ProductsAreCorrectAndCountIsReported) {
    auto environment = GetParam().environment;
    environment.push_back("GLOW_TEST_THREADS=" + std::to_string(GetParam().requested));
    const Child child = run_again("ThreadsChild.DISABLED_ProductsAreCorrect", environment);
    EXPECT_EQ(child.code, 0) << child.text;
    EXPECT_NE(child.text.find("threads " + GetParam().threads + "\n"), std::string::npos) << child.text;
}

INSTANTIATE_TEST_SUITE_P(
    All, ThreadsEnvironment,
    testing::Values(Setting{{}, "4"}, Setting{{"OMP_DYNAMIC=true"}, "4"},
                    Setting{{"OMP_THREAD_LIMIT=2"}, "2 (asked for 4; OMP_THREAD_LIMIT=2)"},
                    Setting{{"OMP_THREAD_LIMIT=3"}, "3 (asked for 4; OMP_THREAD_LIMIT=3)"},
                    Setting{{"OMP_THREAD_LIMIT=1"}, "1 (asked for 2; OMP_THREAD_LIMIT=1)", 2},
                    Setting{{"OMP_THREAD_LIMIT=3", "OMP_DYNAMIC=true", "OMP_NUM_THREADS=2"},
                            "3 (asked for 7; OMP_THREAD_LIMIT=3)",
                            7},
                    Setting{{"OMP_MAX_ACTIVE_LEVELS=0"}, "1 (asked for 4; OMP_MAX_ACTIVE_LEVELS=0)"},
                    Setting{{"OMP_NESTED=true"}, "4"}, Setting{{"OMP_NESTED=false"}, "4"},
                    Setting{{"OMP_NUM_THREADS=1"}, "4"}, Setting{{"OMP_NUM_THREADS=3,2"}, "4"},
                    Setting{{"OMP_PROC_BIND=true", "OMP_PLACES={0}"}, "3", 3},
                    Setting{{"OMP_PROC_BIND=spread", "OMP_PLACES=cores"}, "4"},
                    Setting{{"GOMP_CPU_AFFINITY=0"}, "3", 3}));

// It must not end the program, whose threads that have started wait to be joined.
TEST(Threads, LackOfMemoryWhileTheyStartIsAnError) {
    int failed = 0;
    bool decided = false;
    for (int allocations = 0; allocations < 40; ++allocations) {
        std::thread([&] {  // with a pool of its own
            fail_after_allocations(allocations);
            try {
                decided = decide_threads(6).used > 0;
            } catch (const std::bad_alloc&) {
                ++failed;
            }
            fail_after_allocations(-1);
        })
            .join();
    }
    EXPECT_GE(failed, 5);
    EXPECT_TRUE(decided);
}

TEST(Threads, AffinityMaskLowersOnlyDefault) {
    const auto on_one_processor = [] {
        cpu_set_t mask;
        CPU_ZERO(&mask);
        sched_getaffinity(0, sizeof(mask), &mask);
        int first = 0;
        while (!CPU_ISSET(first, &mask)) ++first;
        CPU_ZERO(&mask);
        CPU_SET(first, &mask);
        sched_setaffinity(0, sizeof(mask), &mask);
    };
    const auto child = [&](const char* threads) {
        return run_again("ThreadsChild.DISABLED_ProductsAreCorrect", {threads}, on_one_processor);
    };
    const Child three = child("GLOW_TEST_THREADS=3"), automatic = child("GLOW_TEST_THREADS=0");
    EXPECT_EQ(three.code, 0) << three.text;
    EXPECT_NE(three.text.find("threads 3\n"), std::string::npos) << three.text;
    EXPECT_EQ(automatic.code, 0) << automatic.text;
    EXPECT_NE(automatic.text.find("threads 1"), std::string::npos) << automatic.text;
}

// A limit of one additional thread, as a user whom limits apply to. For this process only.
TEST(ThreadsChild, DISABLED_ThreadLimit) {
    const uid_t nobody = unused_user();
    if (geteuid() == 0 && setresuid(nobody, nobody, nobody) != 0) GTEST_SKIP() << "cannot change the user";
    prctl(PR_SET_DUMPABLE, 1);  // needed by the leak checker of sanitizer builds
    rlimit limit{}, before{};
    getrlimit(RLIMIT_NPROC, &before);
    limit = before;
    // Other users' processes count too; possibly no thread is left.
    limit.rlim_cur = 1;
    if (getuid() == nobody)
        limit.rlim_cur +=
            static_cast<rlim_t>(std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
    setrlimit(RLIMIT_NPROC, &limit);
    {
        const Backend backend(Device::cpu, 4);
        std::printf("threads %s\n", describe(backend.threads()).c_str());
        EXPECT_LT(backend.threads().used, 4);
        EXPECT_NE(backend.threads().limit.find("the system cannot start more threads"), std::string::npos);
        expect_right(backend);
    }
    setrlimit(RLIMIT_NPROC, &before);
}

TEST(Threads, ThreadLimitLowersCount) {
    const Child child = run_again("ThreadsChild.DISABLED_ThreadLimit", {});
    EXPECT_EQ(child.code, 0) << child.text;
    EXPECT_NE(child.text.find("asked for 4; the system cannot start more threads"), std::string::npos)
        << child.text;
}

// ---- Settings of the calling program ------------------------------------------------------------------

// Calls f with OpenMP settings of the calling program, which are per thread.
template <class F>
void with_settings(int threads, int dynamic, int levels, F f) {
    const int before[] = {omp_get_max_threads(), omp_get_dynamic(), omp_get_max_active_levels()};
    omp_set_num_threads(threads);
    omp_set_dynamic(dynamic);
    omp_set_max_active_levels(levels);
    f();
    EXPECT_EQ(omp_get_max_threads(), threads);
    EXPECT_EQ(omp_get_dynamic(), dynamic);
    EXPECT_EQ(omp_get_max_active_levels(), levels);
    omp_set_num_threads(before[0]);
    omp_set_dynamic(before[1]);
    omp_set_max_active_levels(before[2]);
}

TEST(Threads, IgnoresAndKeepsProgramSettings) {
    const Backend backend(Device::cpu, 4);
    for (const int threads : {1, 2, 7})
        for (const int dynamic : {0, 1})
            for (const int levels : {0, 1, 3}) {
                SCOPED_TRACE(testing::Message() << threads << " " << dynamic << " " << levels);
                with_settings(threads, dynamic, levels, [&] { expect_right(backend); });
            }
    with_settings(3, 1, 1, [] {
        const Backend opened(Device::cpu, 4);
        EXPECT_EQ(opened.threads().used, 4);
        expect_right(opened);
    });
}

TEST(Threads, BackendsWithDifferentCountsCoexist) {
    const Backend one(Device::cpu, 1), four(Device::cpu, 4), three(Device::cpu, 3);
    for (int turn = 0; turn < 2; ++turn)
        for (const Backend* backend : {&four, &one, &three}) expect_right(*backend);
}

TEST(Threads, WorksFromOtherThread) {
    const Backend backend(Device::cpu, 4);
    std::thread([&] { expect_right(backend); }).join();
    expect_right(backend);
    // First use of an oneDNN primitive happens there.
    const Backend fresh(Device::cpu, 3);
    std::thread([&] {
        omp_set_num_threads(5);
        expect_right(fresh);
    }).join();
    expect_right(fresh);
}

TEST(Threads, InsideParallelRegion) {
    const Backend backend(Device::cpu, 4);
    expect_right(backend);
    for (const int levels : {1, 4})
        with_settings(2, 0, levels, [&] {
            for (const int team : {1, 2, 3}) {
#pragma omp parallel num_threads(team)
#pragma omp single
                expect_right(backend);
            }
        });
    expect_right(backend);
}

TEST(Threads, OpenedInsideParallelRegion) {
    std::atomic<index_t> wrong = 0;
    std::atomic<int> threads = 0;
#pragma omp parallel num_threads(3)
    {
        const Backend backend(Device::cpu, 4);
        threads += backend.threads().used;
        wrong += wrong_elements(backend);
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(threads, 3);
    std::unique_ptr<Backend> opened_there;
#pragma omp parallel num_threads(2)
#pragma omp single
    opened_there = std::make_unique<Backend>(Device::cpu, 4);
    EXPECT_EQ(describe(opened_there->threads()), "1 (asked for 4; opened inside a parallel region)");
    expect_right(*opened_there);
}

TEST(Threads, PlansForMoreThreadsThanMachine) {
    const Backend plans = Backend::for_plans(Device::cpu, 64);
    EXPECT_EQ(plans.threads().used, 64);
    Arena workspace(Device::count_only, Category::workspace, std::size_t{1} << 40);
    plans.counting_context(workspace).gemm(known()[2].product, nullptr, nullptr, nullptr);
}

// ---- Processors ---------------------------------------------------------------------------------------

class Cgroups : public testing::Test {
  protected:
    Cgroups() {
        std::string name = (std::filesystem::temp_directory_path() / "glow-test-XXXXXX").string();
        EXPECT_NE(mkdtemp(name.data()), nullptr);
        root_ = name;
    }
    ~Cgroups() override { std::filesystem::remove_all(root_); }
    void write(const std::string& name, const std::string& text) const {
        const std::filesystem::path path = root_ / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text;
    }
    std::filesystem::path root_;
};

TEST_F(Cgroups, UnlimitedWithoutQuota) {
    EXPECT_EQ(cgroup_processors(root_), 0);
    write("proc/self/cgroup", "0::/user\n");
    write("proc/self/mountinfo", "nonsense\n31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    EXPECT_EQ(cgroup_processors(root_), 0);
    write("sys/fs/cgroup/user/cpu.max", "max 100000\n");
    EXPECT_EQ(cgroup_processors(root_), 0);
}

TEST_F(Cgroups, Version2UsesSmallestQuotaRoundedUp) {
    write("proc/self/cgroup", "0::/a/b\n");
    write("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    EXPECT_EQ(cgroup_processors(root_), 2);
    write("sys/fs/cgroup/a/b/cpu.max", "350000 100000\n");
    EXPECT_EQ(cgroup_processors(root_), 2);
    write("sys/fs/cgroup/a/b/cpu.max", "25000 50000\n");
    EXPECT_EQ(cgroup_processors(root_), 1);
}

TEST_F(Cgroups, Version2InAContainer) {
    write("proc/self/cgroup", "0::/\n");
    write("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n");
    write("sys/fs/cgroup/cpu.max", "300000 100000\n");
    EXPECT_EQ(cgroup_processors(root_), 3);
}

TEST_F(Cgroups, Version1) {
    write("proc/self/cgroup", "9:cpuset:/\n4:cpu,cpuacct:/docker/abc/job\n1:name=systemd:/\n");
    // The container sees only its part of the tree.
    write("proc/self/mountinfo",
          "30 23 0:27 /other /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n"
          "31 23 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n");
    write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_processors(root_), 0);
    write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "410000\n");
    write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(cgroup_processors(root_), 5);
}

TEST_F(Cgroups, MemoryLimitVersion2) {
    const std::size_t machine = host_memory_limit(root_).bytes;
    EXPECT_EQ(host_memory_limit(root_).source, "this machine has");
    write("proc/self/cgroup", "0::/system.slice/slurm/job_7/step_0\n");
    write("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    write("sys/fs/cgroup/system.slice/memory.max", "max\n");
    EXPECT_EQ(host_memory_limit(root_).bytes, machine);
    write("sys/fs/cgroup/system.slice/slurm/job_7/memory.max", "33554432\n");
    EXPECT_EQ(host_memory_limit(root_).bytes, 33554432u);
    write("sys/fs/cgroup/system.slice/slurm/job_7/step_0/memory.max", "16777216\n");
    EXPECT_EQ(host_memory_limit(root_).bytes, 16777216u);
    EXPECT_NE(host_memory_limit(root_).source.find("control group"), std::string::npos);
}

TEST_F(Cgroups, MemoryLimitVersion1) {
    const std::size_t machine = host_memory_limit(root_).bytes;
    write("proc/self/cgroup", "9:memory:/slurm/job_7\n4:cpu,cpuacct:/slurm/job_8\n");
    write("proc/self/mountinfo",
          "30 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
          "31 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    EXPECT_EQ(host_memory_limit(root_).bytes, machine);
    write("sys/fs/cgroup/cpu/slurm/job_8/memory.limit_in_bytes", "1\n");
    EXPECT_EQ(host_memory_limit(root_).bytes, machine);
    write("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "50331648\n");
    EXPECT_EQ(host_memory_limit(root_).bytes, 50331648u);
}

TEST(Threads, AffinityMaskIsDividedAmongProcesses) {
    const auto processors = [](std::size_t first, std::size_t count) {
        ProcessorMask mask;
        for (std::size_t i = first; i < first + count; ++i) mask.set(i);
        return mask;
    };
    const auto shares = [](const std::vector<ProcessorMask>& masks) {
        std::vector<int> found;
        for (std::size_t r = 0; r < masks.size(); ++r) found.push_back(processor_share(masks, r));
        return found;
    };
    const std::vector<ProcessorMask> equal(3, processors(4, 6)), crowded(8, processors(0, 2));
    EXPECT_EQ(shares(equal), (std::vector<int>{2, 2, 2}));
    EXPECT_EQ(shares(crowded), std::vector<int>(8, 1));
    EXPECT_EQ(shares({processors(0, 4), processors(4, 2)}), (std::vector<int>{4, 2}));
    EXPECT_EQ(shares({processors(0, 8), processors(4, 4)}), (std::vector<int>{6, 2}));
    EXPECT_EQ(shares({processors(0, 8), {}}), (std::vector<int>{8, 0}));  // unknown

    const ThreadCount all = planned_threads(0), one = planned_threads(0, 1, 1);
    EXPECT_EQ(one.used, 1);
    EXPECT_EQ(planned_threads(5, 1, 1).used, 5);
    EXPECT_EQ(planned_threads(0, 1, all.used).used, all.used);
    if (all.used > 1) {
        EXPECT_EQ(one.limit, "affinity mask, shared with other processes");
    }
    // With OMP_PLACES the calling thread's mask is not that of the process, and unknown.
    const std::size_t mine = affinity_mask().count();
    EXPECT_TRUE(mine == 0 || mine == static_cast<std::size_t>(omp_get_num_procs())) << mine;
}

TEST(Threads, SharedByProcessesOfHost) {
    const ThreadCount all = planned_threads(0), shared = planned_threads(0, 1000);
    EXPECT_GE(all.used, 1);
    EXPECT_LE(all.used, all.processors);
    EXPECT_EQ(shared.used, 1);
    EXPECT_EQ(planned_threads(5, 1000).used, 5);
    EXPECT_EQ(describe({.used = 2, .requested = 4, .processors = 8, .limit = "x"}), "2 (asked for 4; x)");
    EXPECT_EQ(describe({.used = 2, .requested = 0, .processors = 8, .limit = "x"}), "2 (of 8 processors; x)");
    EXPECT_EQ(describe({.used = 4, .requested = 4, .processors = 8, .limit = ""}), "4");
}

}  // namespace
}  // namespace glow
