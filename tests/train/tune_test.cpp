// Engine selection for the convolutions, with a stub library on the CPU.
#include "train/tune.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

#include "kernels/error.h"
#include "tests/layers/direct_conv.h"
#include "tests/train/training.h"

namespace glow {
namespace {

TEST(Engines, ListOneNamePerLevel) {
    const std::vector<Engine> engines = {Engine::gemm, Engine::library};
    EXPECT_EQ(to_string(engines), "products,cudnn");
    EXPECT_EQ(parse_engines("products,cudnn", 2), engines);
    EXPECT_TRUE(parse_engines("", 3).empty());
    for (const char* text : {"products", "products,cudnn,cudnn", "cudnn,", ",cudnn", "products,cuDNN", " "})
        EXPECT_THROW(parse_engines(text, 2), InputError) << text;
    TrainingOptions options;
    options.engines = "cudnn";
    EXPECT_THROW(check(options), InputError);
}

// A library that takes no time, or more than any network here. Its results are ignored.
struct Stopwatch : Conv {
    explicit Stopwatch(bool available = true, bool slow = false) : available(available), slow(slow) {}
    bool has(const Convolution& c) override {
        asked.push_back(c);
        return available;
    }
    void run(const Convolution&, const void*, const void*, void*, void*) override {
        if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    bool available, slow;
    std::vector<Convolution> asked;
};

// The last convolution, 9 x 48 outputs, is nearly all of these networks' work.
TrainingOptions wide_outputs() {
    TrainingOptions options = small_options();
    options.model.image_height = options.model.image_width = 16;
    options.model.channels = 4;
    options.model.levels = 2;
    options.model.width = 16;
    return options;
}

template <class Library, class... Arguments>
Backend with(Arguments... arguments) {
    return Backend(Device::cpu, 1, 0, nullptr, std::make_unique<Library>(arguments...));
}

TEST(MeasuredEngines, AreFaster) {
    std::vector<std::string> said;
    const auto measured = [&](const Backend& backend) {
        said.clear();
        return to_string(measured_engines(wide_outputs(), backend,
                                          [&](const std::string& line) { said.push_back(line); }));
    };
    std::string chosen;  // other processes may disturb a measurement
    for (int attempt = 0; attempt < 5 && chosen != "cudnn,cudnn"; ++attempt)
        chosen = measured(with<Stopwatch>());
    EXPECT_EQ(chosen, "cudnn,cudnn");
    ASSERT_EQ(said.size(), 2u);
    EXPECT_NE(said[1].find("level 1"), std::string::npos) << said[1];
    EXPECT_EQ(measured(with<Stopwatch>(true, true)), "products,products");
    EXPECT_EQ(measured(with<Stopwatch>(false)), "products,products");
    EXPECT_NE(said[0].find("not available"), std::string::npos) << said[0];
}

// The library is measured on the convolutions of a training step.
TEST(MeasuredEngines, MeasureConvolutionsOfStep) {
    const Backend backend = with<Stopwatch>(false);
    TrainingOptions options = wide_outputs();
    options.batch = 6;
    options.micro_batch = 5;
    measured_engines(options, backend, [](const std::string&) {});
    const std::vector<Convolution>& asked = static_cast<Stopwatch&>(backend.conv()).asked;
    ASSERT_GE(asked.size(), 2u);
    const Convolution& first = asked.front();
    EXPECT_EQ(first.N, 5);
    EXPECT_EQ(first.H, 8);
    EXPECT_EQ(first.W, 8);
    EXPECT_EQ(first.in, 16);
    EXPECT_EQ(first.out, 16);
    EXPECT_EQ(first.operands, Scalar::f32);
    EXPECT_EQ(asked.back().out, 32);
    EXPECT_EQ(asked.back().H, 4);
}

struct Asked {
    std::string engines, said;
};
Asked engines_with(const TrainingOptions& options, bool resuming, const std::string& recorded,
                   const Backend& backend) {
    Asked result;
    result.engines = engines_of_run(options, resuming, recorded, backend,
                                    [&](const std::string& line) { result.said += line; });
    return result;
}

TEST(EngineSelection, PrecedenceIsRunCheckpointRule) {
    const Backend library = with<DirectConv>(), none(Device::cpu, 1);
    TrainingOptions options = wide_outputs();
    EXPECT_EQ(engines_with(options, false, "", none).engines, "");
    EXPECT_EQ(engines_with(options, true, "products,cudnn", library).engines, "products,cudnn");
    options.engines = "cudnn,products";
    EXPECT_EQ(engines_with(options, false, "", library).engines, "cudnn,products");
    EXPECT_EQ(engines_with(options, true, "products,cudnn", library).engines, "cudnn,products");
    // A device without vendor convolutions: a resumed run falls back, a new run with an explicit request
    // fails.
    EXPECT_THROW(engines_with(options, false, "", none), InputError);
    const Asked moved = engines_with(options, true, "cudnn,products", none);
    EXPECT_EQ(moved.engines, "products,products");
    EXPECT_NE(moved.said.find("using matrix products"), std::string::npos) << moved.said;
}

TEST(EngineSelection, CpuHasNothingToTune) {
    const Backend none(Device::cpu, 1);
    TrainingOptions options = wide_outputs();
    options.tune = true;
    const Asked asked = engines_with(options, false, "", none);
    EXPECT_EQ(asked.engines, "");
    EXPECT_NE(asked.said.find("only one convolution engine"), std::string::npos) << asked.said;
}

// Steps with vendor convolutions match matrix products up to float rounding; stored and recomputed
// activations are bit-equal.
TEST(Engines, LibraryStepIsEquivalent) {
    TrainingOptions options = wide_outputs();
    Training products(options);
    const std::vector<float> expected = products.random_start().gradient();
    options.engines = "cudnn,products";
    Training rebuilt(options, 2, std::make_unique<DirectConv>());
    options.memory = MemoryMode::store;
    Training stored(options, 2, std::make_unique<DirectConv>());
    const std::vector<float> found = rebuilt.random_start().gradient();
    EXPECT_LE(relative_l2(found, expected), 1e-5);
    EXPECT_GT(static_cast<DirectConv&>(rebuilt.backend.conv()).calls, 0);
    EXPECT_LE(relative_l2(stored.random_start().gradient(), found), 1e-6);
    EXPECT_EQ(total(rebuilt.memory.peak()), total(rebuilt.plan.bytes));
}

// Products by the CPU's library, with three algorithms; one takes no extra time.
struct ThreeAlgorithms : Blas {
    std::size_t scratch_bytes(const Gemm& gemm) override { return products->scratch_bytes(gemm); }
    void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        if (chosen[gemm] != fastest) std::this_thread::sleep_for(std::chrono::microseconds(200));
        products->run(gemm, a, b, c, data, scratch);
    }
    int algorithms(const Gemm&) override { return 3; }
    void choose(const Gemm& gemm, int algorithm) override { chosen[gemm] = algorithm; }
    bool has_bf16() const override { return false; }
    std::unique_ptr<Blas> products = make_cpu_blas(1);
    std::map<Gemm, int> chosen;
    int fastest = 2;
};

TEST(TunedAlgorithms, AreFastestOfEachProduct) {
    auto stub = std::make_unique<ThreeAlgorithms>();
    ThreeAlgorithms& blas = *stub;
    const Backend backend(Device::cpu, 1, 0, nullptr, nullptr, std::move(stub));
    TrainingOptions options = wide_outputs();
    for (const MemoryMode memory : {MemoryMode::reconstruct, MemoryMode::store}) {
        options.memory = memory;
        blas.chosen.clear();
        const std::map<Gemm, int> recorded = parse_algorithms(tuned_algorithms(options, backend));
        EXPECT_GE(recorded.size(), 14u);  // seven of each level
        EXPECT_EQ(recorded, blas.chosen);
        for (const auto& [gemm, algorithm] : recorded) EXPECT_EQ(algorithm, 2);
    }
    blas.fastest = 0;
    blas.chosen.clear();
    EXPECT_EQ(tuned_algorithms(options, backend), "");
}

TEST(TunedAlgorithms, AreMeasuredOncePerRun) {
    TrainingOptions options, resumed;
    EXPECT_FALSE(measures_algorithms(options, nullptr));
    options.tune = true;
    EXPECT_TRUE(measures_algorithms(options, nullptr));
    EXPECT_TRUE(measures_algorithms(options, &resumed));  // --tune given on resume
    resumed.tune = true;                                  // and nothing faster was found
    EXPECT_FALSE(measures_algorithms(options, &resumed));
    const std::string some = "nn 4 4 4 f32 f32 none set 1";
    resumed.tune = false;
    resumed.algorithms = some;
    EXPECT_FALSE(measures_algorithms(options, &resumed));
    options.algorithms = some;
    EXPECT_FALSE(measures_algorithms(options, nullptr));
}

TEST(TunedAlgorithms, AreReadBack) {
    const std::string text =
        "nt 64 8 16 bf16 bf16 bias_relu set 3, tn 8 16 64 bf16 f32 none add 1, nn 4 4 4 tf32 f32 none set 0";
    const std::map<Gemm, int> algorithms = parse_algorithms(text);
    ASSERT_EQ(algorithms.size(), 3u);
    const Gemm first = gemm_nt(64, 8, 16, Scalar::bf16, Scalar::bf16).with(Epilogue::bias_relu);
    EXPECT_EQ(algorithms.at(first), 3);
    EXPECT_EQ(algorithms.at(gemm_tn(8, 16, 64, Scalar::bf16, Scalar::f32).adding(true)), 1);
    EXPECT_TRUE(parse_algorithms("").empty());
    for (const char* wrong :
         {"fast", "nt 64 8 16 bf16 bf16 bias_relu set", "nt 64 8 16 bf16 bf16 bias_relu set -1",
          "xx 64 8 16 bf16 bf16 none set 1", "nt 0 8 16 bf16 bf16 none set 1",
          "nt 64 8 16 bf17 bf16 none set 1", "nt 64 8 16 bf16 bf16 gelu set 1",
          "nt 64 8 16 bf16 bf16 none put 1", "nt 64 8 16 bf16 bf16 none set 1 more", ", "})
        EXPECT_THROW(parse_algorithms(wrong), InputError) << wrong;
    TrainingOptions options;
    options.algorithms = "fast";
    EXPECT_THROW(check(options), InputError);
}

}  // namespace
}  // namespace glow
