// The commands when OpenMP gives, or may give, fewer threads than requested: results are correct, and the
// number is reported.
#include <sched.h>
#include <sys/resource.h>

#include <cstdlib>

#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

// Environment variables for the programs that are started meanwhile.
class Environment {
  public:
    explicit Environment(const Words& settings) {
        for (const std::string& setting : settings) {
            names_.push_back(setting.substr(0, setting.find('=')));
            setenv(names_.back().c_str(), setting.substr(setting.find('=') + 1).c_str(), 1);
        }
    }
    ~Environment() {
        for (const std::string& name : names_) unsetenv(name.c_str());
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

  private:
    Words names_;
};

// The programs that are started meanwhile have one processor.
class OneProcessor {
  public:
    OneProcessor() {
        sched_getaffinity(0, sizeof(before_), &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i)
            if (CPU_ISSET(i, &before_)) CPU_SET(i, &one);
        sched_setaffinity(0, sizeof(one), &one);
    }
    ~OneProcessor() { sched_setaffinity(0, sizeof(before_), &before_); }
    OneProcessor(const OneProcessor&) = delete;
    OneProcessor& operator=(const OneProcessor&) = delete;

  private:
    cpu_set_t before_;
};

struct FewerThreads : Commands {
    FewerThreads() { make_dataset(folder / "d.h5", 16, 16, 3, 40, 0, 16); }
    static Words words(const std::string& out, int threads) {
        return {"--data",      "d.h5", "--out",    out,   "--levels",  "2",
                "--depth",     "2",    "--width",  "16",  "--batch",   "8",
                "--log-every", "1",    "--device", "cpu", "--threads", std::to_string(threads)};
    }
    void make_model() const {
        const Outcome outcome = train(words("run", 1) + Words{"--max-steps", "20", "--quiet"});
        ASSERT_EQ(outcome.code, 0) << outcome.err;
    }
    Outcome evaluate(const Words& threads) const {
        return eval(Words{"--bpd", "--checkpoint", "run", "--data", "d.h5", "--device", "cpu", "--json"} +
                    threads);
    }
};

TEST_F(FewerThreads, LikelihoodIsCorrectInEveryEnvironment) {
    make_model();
    const Outcome normal = evaluate({"--threads", "4", "--quiet"});
    ASSERT_EQ(normal.code, 0) << normal.err;
    EXPECT_EQ(normal.err, "");
    const double right = nlohmann::json::parse(normal.out)["bpd"];
    const auto expect_right = [&](const Outcome& outcome, const std::string& told) {
        ASSERT_EQ(outcome.code, 0) << outcome.err;
        // Sums of float products in another order.
        EXPECT_NEAR(nlohmann::json::parse(outcome.out)["bpd"].get<double>(), right, 1e-5);
        EXPECT_EQ(outcome.err.find("threads") != std::string::npos, !told.empty()) << outcome.err;
        EXPECT_NE(outcome.err.find(told), std::string::npos) << outcome.err;
    };
    const struct {
        Words environment;
        std::string threads, told;
    } cases[] = {{{"OMP_DYNAMIC=true"}, "4", ""},
                 {{"OMP_DYNAMIC=true"}, "0", ""},
                 {{"OMP_THREAD_LIMIT=1"}, "0", ""},
                 {{"OMP_THREAD_LIMIT=2"}, "4", "warning: threads 2 (asked for 4; OMP_THREAD_LIMIT=2)"},
                 {{"OMP_THREAD_LIMIT=3"}, "4", "warning: threads 3 (asked for 4; OMP_THREAD_LIMIT=3)"},
                 {{"OMP_MAX_ACTIVE_LEVELS=0"}, "2", "threads 1 (asked for 2; OMP_MAX_ACTIVE_LEVELS=0)"},
                 {{"OMP_NUM_THREADS=1"}, "3", ""},
                 {{"OMP_NUM_THREADS=4,2", "OMP_NESTED=true"}, "0", ""},
                 {{"OMP_PROC_BIND=true", "OMP_PLACES={0}"}, "3", ""},
                 {{"GOMP_CPU_AFFINITY=0"}, "3", ""},
                 // Stacks on which kernels overflow, which hold no thread, and which cannot be mapped.
                 {{"OMP_STACKSIZE=100k"}, "2", ""},
                 {{"OMP_STACKSIZE=16k"}, "2", ""},
                 {{"GOMP_STACKSIZE=50000000"}, "2", ""},
                 {{"OMP_STACKSIZE=1000G", "KMP_STACKSIZE=1000G"}, "2", ""},
                 {{"ONEDNN_DEFAULT_FPMATH_MODE=ANY"}, "2", ""}};
    for (const auto& one : cases) {
        SCOPED_TRACE(one.environment[0] + " --threads " + one.threads);
        const Environment environment(one.environment);
        expect_right(evaluate({"--threads", one.threads, "--quiet"}), one.told);
    }
    const OneProcessor bound;
    expect_right(evaluate({"--threads", "3", "--quiet"}), "");
    expect_right(evaluate({"--quiet"}), "");
    EXPECT_NE(eval({"--version"}).out.find("\nthreads  1"), std::string::npos);
}

TEST_F(FewerThreads, RefusesStackThatIsTooSmall) {
    rlimit before{};
    getrlimit(RLIMIT_STACK, &before);
    const rlimit small{rlim_t{64} << 10, before.rlim_max};
    setrlimit(RLIMIT_STACK, &small);
    const Outcome outcome = eval({"--version"});
    setrlimit(RLIMIT_STACK, &before);
    expect_error(outcome, 2, "ulimit -s allows 64 KiB, but the program and its libraries need 512 KiB");
}

TEST_F(FewerThreads, SamplesMatchSameThreadCount) {
    make_model();
    const auto samples = [&](const std::string& file, const Words& threads) {
        const Outcome outcome =
            sample(Words{"--checkpoint", "run", "--grid", "2x2", "-o", file, "--device", "cpu", "--quiet"} +
                   threads);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return read_bytes(folder / file);
    };
    const std::string four = samples("4.png", {"--threads", "4"}), two = samples("2.png", {"--threads", "2"});
    {
        const Environment environment({"OMP_DYNAMIC=true"});
        EXPECT_EQ(samples("dynamic.png", {"--threads", "4"}), four);
        const Outcome back = latent({"reconstruct", "--checkpoint", "run", "--data", "d.h5", "--device",
                                     "cpu", "--threads", "4", "--json", "--quiet"});
        ASSERT_EQ(back.code, 0) << back.err;
        EXPECT_EQ(nlohmann::json::parse(back.out)["wrong_values"], 0);
    }
    const Environment environment({"OMP_THREAD_LIMIT=2"});
    EXPECT_EQ(samples("limit.png", {"--threads", "4"}), two);
}

TEST_F(FewerThreads, TrainingMatchesSameThreadCountAndResumeWarns) {
    const auto run = [&](const std::string& out, int threads, const Words& more) {
        const Outcome outcome = train(words(out, threads) + Words{"--max-steps", "3"} + more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        return outcome.err;
    };
    EXPECT_NE(run("one", 1, {}).find("cpu, threads 1, "), std::string::npos);
    run("two", 2, {"--quiet"});
    {
        const Environment environment({"OMP_THREAD_LIMIT=1"});
        EXPECT_NE(run("limit", 2, {}).find("cpu, threads 1 (asked for 2; OMP_THREAD_LIMIT=1), "),
                  std::string::npos);
        EXPECT_NE(run("limit_quiet", 2, {"--quiet"}).find("threads 1 (asked for 2; OMP_THREAD_LIMIT=1)"),
                  std::string::npos);
        expect_equal_weights("limit/latest.h5", "one/latest.h5");
    }
    {
        const Environment environment({"OMP_DYNAMIC=true"});
        EXPECT_EQ(run("dynamic", 2, {"--quiet"}), "");
        expect_equal_weights("dynamic/latest.h5", "two/latest.h5");
    }
    const Words resume = {"--out", "two", "--resume", "--max-steps", "4", "--device", "cpu", "--quiet"};
    {
        const Environment environment({"OMP_THREAD_LIMIT=1"});
        const Outcome outcome = train(resume);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_NE(outcome.err.find("threads 1 (asked for 2; OMP_THREAD_LIMIT=1): the run continues"),
                  std::string::npos)
            << outcome.err;
    }
    EXPECT_EQ(read_csv(folder / "two/metrics.csv").size(), 4u);
}

TEST_F(FewerThreads, DecompressionIsExactOrRejected) {
    make_model();
    const Outcome made =
        Process(folder.path(), GLOW_COMPRESS_PROGRAM,
                {"--checkpoint", "run", "--data", "d.h5", "-o", "x.glow", "--threads", "4", "--quiet"})
            .wait();
    ASSERT_EQ(made.code, 0) << made.err;
    for (const char* const setting : {"OMP_DYNAMIC=true", "OMP_THREAD_LIMIT=2"}) {
        SCOPED_TRACE(setting);
        const Environment environment({setting});
        const Outcome back = Process(folder.path(), GLOW_DECOMPRESS_PROGRAM,
                                     {"--checkpoint", "run", "x.glow", "-o", "back.h5", "--force", "--quiet"})
                                 .wait();
        const bool told = back.err.find("threads 2 (asked for 4; OMP_THREAD_LIMIT=2)") != std::string::npos;
        EXPECT_EQ(told, std::string(setting) == "OMP_THREAD_LIMIT=2") << back.err;
        if (told && back.code == 1) {
            EXPECT_NE(back.err.find("number of threads"), std::string::npos) << back.err;
            continue;
        }
        ASSERT_EQ(back.code, 0) << back.err;
        EXPECT_TRUE(Hdf5File::open(folder / "back.h5").read<std::uint8_t>("/images", {16, 16, 16, 3}) ==
                    load_split(folder / "d.h5", "test").images);
    }
}

#if !defined(__SANITIZE_ADDRESS__)  // whose search for leaks starts a process
// A run trains with the threads that it can start, and writes samples without one.
TEST_F(FewerThreads, TrainsUnderUserThreadLimit) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can be another user";
    const auto run = [&](rlim_t most) {
        const std::string out = "most" + std::to_string(most);
        return train(words(out, 2) +
                         Words{"--max-steps", "2", "--sample-every", "1", "--data-access", "disk", "--quiet"},
                     {.stderr_path = "", .most_threads = most});
    };
    const Outcome enough = run(20);
    if (enough.code == 98) GTEST_SKIP() << "another user may not run the programs here";
    EXPECT_EQ(enough.code, 0) << enough.err;
    EXPECT_EQ(enough.err, "");
    const Outcome two = run(2), one = run(1);
    EXPECT_EQ(two.code, 0) << two.err;
    expect_equal_weights("most2/latest.h5", "most20/latest.h5");
    EXPECT_EQ(one.code, 0) << one.err;
    EXPECT_NE(one.err.find("threads 1 (asked for 2; the system cannot start more threads"), std::string::npos)
        << one.err;
    for (const char* run : {"most1", "most2", "most20"})
        EXPECT_TRUE(std::filesystem::exists(folder / run / "samples/step-00000002.png")) << run;
}
#endif

}  // namespace
}  // namespace glow
