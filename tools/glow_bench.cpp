// glow_bench: speed of coupling networks and training steps, in GFLOP/s and relative to this machine's peak.
// The peak is a square product by the same library (on the CPU float, 2048 x 2048 x 2048), timed alternately
// with each measurement, so that a busy or throttled machine slows both. Operations are those of the
// mathematics: recomputation counts, padding does not. --kernels times only the individual kernels of a GPU.
#include <benchmark/benchmark.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "kernels/elementwise.h"
#include "kernels/math.h"
#include "kernels/philox.h"
#include "layers/precision.h"
#include "runtime/device.h"
#include "runtime/kernel_profiler.h"
#include "tools/command_line.h"
#include "tools/kernel_table.h"
#include "tools/model_options.h"
#include "tools/numbers.h"
#include "train/memory_plan.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/tune.h"

namespace {

using namespace glow;
using Clock = std::chrono::steady_clock;

struct Options {
    index_t width = 512, depth = 4, levels = 3, batch = 64, size = 32, tile = 0;
    Precision precision = Precision::fp32;
    std::string engines, filter = ".", device = "auto";
    double min_seconds = 2;
    int threads = 0, repetitions = 1;
    bool graph = true, kernels = false, tune = false;
};

// Waits until the device is done.
double seconds(const Exec& exec, const std::function<void()>& work) {
    synchronize(exec);
    const auto start = Clock::now();
    work();
    synchronize(exec);
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// The reference: a square product by the same library; on a GPU large enough to fill it, in the networks'
// precision.
class Peak {
  public:
    Peak(const Backend& backend, Precision precision)
        : backend_(backend), gpu_(backend.exec().device == Device::cuda) {
        const index_t size = gpu_ ? 8192 : 2048;
        gemm_ = {.m = size, .n = size, .k = size, .lda = size, .ldb = size, .ldc = size};
        if (gpu_ && precision == Precision::tf32) gemm_.in = Scalar::tf32;
        if (gpu_ && precision == Precision::bf16) gemm_.in = gemm_.out = Scalar::bf16;
        const std::size_t matrix = static_cast<std::size_t>(size * size) * sizeof(float),
                          scratch = backend.blas().scratch_bytes(gemm_);
        arena_ = std::make_unique<Arena>(backend.exec().device, Category::workspace,
                                         3 * matrix + scratch + 4 * kAlignment);
        a_ = numbers(size * size);
        b_ = numbers(size * size);
        c_ = arena_->take_bytes(matrix);
        scratch_ = arena_->take_bytes(scratch);
        run();
    }
    // Runs one product; returns its seconds.
    double run() {
        return seconds(backend_.exec(), [&] { backend_.blas().run(gemm_, a_, b_, c_, {}, scratch_); });
    }
    double flop() const {
        return 2.0 * static_cast<double>(gemm_.m) * static_cast<double>(gemm_.n) *
               static_cast<double>(gemm_.k);
    }

  private:
    // Zeros would multiply faster; a repeated block of a million numbers does not.
    void* numbers(index_t count) {
        constexpr std::size_t kDifferent = 1 << 20;
        std::vector<float> values(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < std::min(kDifferent, values.size()); i += 4) {
            const PhiloxWords words = philox_block(1, Purpose::weights, 0, i / 4);
            for (std::size_t j = 0; j < 4; ++j)
                values[i + j] = static_cast<float>(philox_uniform(words.word[j]) - 0.5);
        }
        for (std::size_t i = kDifferent; i < values.size(); ++i) values[i] = values[i - kDifferent];
        if (gemm_.in != Scalar::bf16) return to_device(values);
        std::vector<bfloat16> narrow(values.size());
        for (std::size_t i = 0; i < values.size(); ++i) narrow[i] = round_to<bfloat16>(values[i]);
        return to_device(narrow);
    }
    template <class T>
    void* to_device(const std::vector<T>& values) {
        T* const copy = arena_->take<T>(std::ssize(values));
        upload(backend_.exec(), std::ssize(values), values.data(), copy);
        return copy;
    }

    const Backend& backend_;
    bool gpu_;
    Gemm gemm_;
    std::unique_ptr<Arena> arena_;
    void *a_, *b_, *c_, *scratch_;
};

constexpr int kMinRuns = 3;

// Prints the kernels of benchmarks instead of times.
class KernelReport {
  public:
    explicit KernelReport(std::unique_ptr<KernelProfiler> profiler)
        : profiler_(std::move(profiler)), launches_(*profiler_) {}

    // For the backend that is measured.
    LaunchObserver* observer() { return &launches_; }

    void record(const std::string& name, const Backend& backend, const std::function<void()>& work) {
        constexpr int kPasses = 5;
        if (bandwidth_ == 0) bandwidth_ = copy_bandwidth(backend.exec());
        for (int warm_up = 0; warm_up < kMinRuns; ++warm_up) work();
        synchronize(backend.exec());
        profiler_->take();
        launches_.clear();
        for (int pass = 0; pass < kPasses; ++pass) work();
        synchronize(backend.exec());
        const std::vector<KernelRow> rows = kernel_table(profiler_->take(), launches_.launches(), kPasses);
        text_ += fmt::format("{}\n{}", name, describe(rows, bandwidth_));
        nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
        for (const KernelRow& row : rows)
            kernels.push_back({{"kernel", row.name},
                               {"ms", 1e3 * row.seconds},
                               {"calls", row.calls},
                               {"bytes", row.bytes},
                               {"share_of_bandwidth",
                                row.bytes > 0 ? row.bytes / row.seconds_of_bytes / bandwidth_ : 0.0}});
        json_.push_back({{"name", name}, {"copy_bytes_per_s", bandwidth_}, {"kernels", std::move(kernels)}});
    }
    void print(const CommandLine& command) const { command.result(text_, {{"benchmarks", json_}}); }

  private:
    // Bytes per second read and written by the runtime's copy, too large for any cache.
    static double copy_bandwidth(const Exec& exec) {
        constexpr std::size_t kBytes = std::size_t{1} << 30;
        const auto from = device_memory(kBytes), to = device_memory(kBytes);
        fill(exec, static_cast<index_t>(kBytes / sizeof(float)), 1.0f, static_cast<float*>(from.get()));
        double best = 0;
        for (int run = 0; run < 5; ++run) {
            const double taken = seconds(exec, [&] { copy_bytes(exec, kBytes, from.get(), to.get()); });
            best = std::max(best, 2.0 * kBytes / taken);
        }
        return best;
    }

    std::unique_ptr<KernelProfiler> profiler_;
    MarkedLaunches launches_;
    double bandwidth_ = 0;
    std::string text_;
    nlohmann::ordered_json json_ = nlohmann::ordered_json::array();
};

// How to measure a benchmark: relative to the peak, or kernel by kernel.
struct Meter {
    std::string name;
    Peak& peak;
    KernelReport* kernels = nullptr;
};

// Times `work` of `flop` operations alternately with the peak, for `min_seconds` in total. To Google
// Benchmark this is a single iteration: it would count only the seconds of the work (a small network takes as
// long as thousands of peak products) and repeat the setup for every number of iterations.
void measure(benchmark::State& state, const Backend& backend, const Meter& meter, double min_seconds,
             double flop, double images, const std::function<void()>& work) {
    if (meter.kernels != nullptr) {
        for (auto _ : state) {
            meter.kernels->record(meter.name, backend, work);
            state.SetIterationTime(1);  // dummy value
        }
        return;
    }
    Peak& peak = meter.peak;
    for (int warm_up = 0; warm_up < (backend.exec().device == Device::cuda ? 3 : 1); ++warm_up) work();
    double worked = 0, peaked = 0, runs = 0;
    const Clock::time_point start = Clock::now();
    for (auto _ : state) {
        do {
            peaked += peak.run();
            worked += seconds(backend.exec(), work);
            ++runs;
        } while (runs < kMinRuns ||
                 std::chrono::duration<double>(Clock::now() - start).count() < min_seconds);
        state.SetIterationTime(worked / runs);
    }
    const double rate = flop * runs / worked, peak_rate = peak.flop() * runs / peaked;
    state.counters["GFLOP/s"] = rate / 1e9;
    state.counters["peak_GFLOP/s"] = peak_rate / 1e9;
    state.counters["share_of_peak"] = rate / peak_rate;
    state.counters["ms_per_image"] = 1e3 * worked / runs / images;
    state.counters["runs"] = runs;
}

// Times every product of another Blas separately, on a GPU several in a row, because a wait takes as long as
// a small product. (Accumulating products then accumulate repeatedly; results are ignored.)
class TimedBlas : public Blas {
  public:
    TimedBlas(Blas& blas, const Exec& exec) : blas_(blas), exec_(exec) {}
    std::size_t scratch_bytes(const Gemm& gemm) override { return blas_.scratch_bytes(gemm); }
    void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        Times& times = all[gemm];
        const int row = exec_.device == Device::cuda ? 10 : 1;
        times.seconds += seconds(exec_,
                                 [&] {
                                     for (int i = 0; i < row; ++i) blas_.run(gemm, a, b, c, data, scratch);
                                 }) /
                         row;
        ++times.count;
    }
    bool has_bf16() const override { return blas_.has_bf16(); }
    bool has_tf32() const override { return blas_.has_tf32(); }
    struct Times {
        double seconds = 0;
        index_t count = 0;
    };
    std::map<Gemm, Times> all;

  private:
    Blas& blas_;
    Exec exec_;
};

double model_multiplies(const ModelConfig& model) {
    double sum = 0;
    for (index_t l = 0; l < model.levels; ++l) {
        const Shape shape = level_shape(model, l);
        sum += static_cast<double>(model.depth * shape.pixels()) * network_multiplies(model, shape);
    }
    return sum;
}

ModelConfig model_of(const Options& options) {
    ModelConfig model;
    model.image_height = model.image_width = options.size;
    model.levels = options.levels;
    model.depth = options.depth;
    model.width = options.width;
    return model;
}

TrainingOptions training_of(const Options& options, MemoryMode mode) {
    TrainingOptions training;
    training.model = model_of(options);
    training.batch = training.init_batch = options.batch;
    training.memory = mode;
    training.precision = options.precision;
    training.tile = options.tile;
    training.graph = options.graph && !options.kernels;
    training.engines = options.engines;
    training.drift_tolerance = 1e9;  // a repeated step would count twice
    return training;
}

// An engine per level.
std::vector<Engine> engines_of(const Options& options) {
    if (!options.engines.empty()) return parse_engines(options.engines, options.levels);
    return std::vector(static_cast<std::size_t>(options.levels), Engine::gemm);
}

// One coupling network in the layer's tiles: forward with saved maps, then backward.
void bench_network(benchmark::State& state, const Options& options, const Backend& backend,
                   const Meter& meter, index_t level, bool backward) {
    const ModelConfig model = model_of(options);
    const Shape shape = level_shape(model, level);
    const index_t tile = images_per_tile(options.tile, shape.pixels(), options.width, options.batch,
                                         backend.blocking()),
                  rows = tile * shape.pixels();
    Parameters parameters;
    const Engine engine = engines_of(options)[static_cast<std::size_t>(level)];
    const auto network = make_network(network_shape(shape, coupling_options(model)), model.coupling_form(),
                                      options.precision, engine, "n", parameters);
    std::vector<float> values(parameters.size()), gradients(parameters.size());
    parameters.bind(values.data());
    parameters.initialize(1, backend.solver());
    const Exec& exec = backend.exec();
    std::vector<std::shared_ptr<void>> allocations;
    // Copies to the device.
    const auto to_device = [&]<class T>(std::vector<T>& host) {
        if (exec.device == Device::cpu) return host.data();
        allocations.push_back(device_memory(host.size() * sizeof(T)));
        T* const copy = static_cast<T*>(allocations.back().get());
        upload(exec, std::ssize(host), host.data(), copy);
        return copy;
    };
    parameters.bind(to_device(values));
    float* const device_gradients = to_device(gradients);
    // All tiles use one tile's state, which is coupled and uncoupled again.
    std::vector<double> h(static_cast<std::size_t>(rows * shape.C)), logdet(static_cast<std::size_t>(tile));
    std::vector<float> dh(h.size(), 1e-3f);
    for (std::size_t i = 0; i < h.size(); ++i) h[i] = static_cast<double>(i * 7919 % 1000) / 1000 - 0.5;
    double *const device_h = to_device(h), *const device_logdet = to_device(logdet);
    float* const device_dh = to_device(dh);

    const auto pass = [&](const Context& context) {
        const Arena::Scope scope(context.workspace);
        const auto folded = network->folded(context);
        const auto gradient = network->take_gradient(context, options.batch);
        for (index_t n = 0; n < options.batch; n += tile) {
            const Arena::Scope tile_scope(context.workspace);
            const index_t images = std::min(tile, options.batch - n);
            const auto maps = network->take_maps(context.workspace, images);
            network->couple(context, folded, images, {device_h, shape.C}, device_h, device_logdet, &maps);
            if (backward)
                network->backward(
                    context, folded,
                    {n, images, {device_h, shape.C}, device_dh, device_h, device_dh, 1e-3, &maps}, gradient,
                    {device_gradients});
        }
        if (backward) network->unfold(context, gradient, {device_gradients});
    };
    Memory counting;
    pass(backend.counting_context(counting[Category::workspace]));
    Memory memory(backend.exec().device, counting.peak());
    const Context context = backend.context(memory[Category::workspace]);
    const double flop = 2.0 * static_cast<double>(options.batch * shape.pixels()) *
                        network_multiplies(model, shape) * (backward ? 3 : 1);
    measure(state, backend, meter, options.min_seconds, flop, static_cast<double>(options.batch),
            [&] { pass(context); });
}

// Forward and backward of a whole model on one batch.
class ModelPass {
  public:
    explicit ModelPass(const Options& options)
        : batch_(options.batch),
          glow_(model_of(options),
                {.precision = options.precision, .tile = options.tile, .engines = engines_of(options)}) {
        Parameters& parameters = glow_.parameters();
        values_.resize(static_cast<std::size_t>(parameters.size()));
        fixed_.resize(static_cast<std::size_t>(parameters.fixed_size()));
        parameters.bind(values_.data());
        parameters.bind_fixed(fixed_.data());
        parameters.initialize(1, *make_cpu_solver());
        images_.resize(static_cast<std::size_t>(batch_ * glow_.config().dimensions()));
        for (std::size_t i = 0; i < images_.size(); ++i)
            images_[i] = static_cast<double>(i * 7919 % 1000) / 1000 - 0.5;
    }

    void operator()(const Context& context, Memory& memory) {
        Arena& state = memory[Category::state];
        const Arena::Scope scope(state), derived(memory[Category::derived]);
        const auto to_device = [&]<class T>(const std::vector<T>& host) {
            T* const copy = state.take<T>(std::ssize(host));
            upload(context.exec, std::ssize(host), host.data(), copy);
            return copy;
        };
        const index_t size = glow_.parameters().size();
        float* const gradients = state.take<float>(size);
        glow_.parameters().bind(to_device(values_));
        glow_.parameters().bind_fixed(to_device(fixed_));
        fill(context.exec, size, 0.0f, gradients);
        glow_.allocate(memory[Category::derived]);
        glow_.derive(context);
        Flow flow;
        flow.N = batch_;
        flow.h = to_device(images_);
        flow.logdet = state.take<double>(batch_);
        flow.prior = state.take<double>(batch_);
        Gradient gradient{state.take<real>(std::ssize(images_)), -1e-3, 0, {gradients}};
        SavedActivations saved(memory[Category::stored], {});
        glow_.forward(context, flow, &saved);
        glow_.backward(context, flow, gradient, saved);
    }

  private:
    index_t batch_;
    Glow glow_;
    std::vector<float> values_, fixed_;
    std::vector<double> images_;
};

// One number per product, its fraction of the peak; the name has shape, type, ms and calls per pass.
void report(benchmark::State& state, const TimedBlas& blas, double passes, double peak_rate) {
    double products = 0;
    for (const auto& [g, times] : blas.all) {
        const double flop =
                         2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k),
                     each = times.seconds / static_cast<double>(times.count);
        products += times.seconds / passes;
        const char* const kinds[] = {"f32", "f64", "bf16", "tf32"};
        state.counters[fmt::format("{}x{}x{}{}{}_{}_{:.4f}_x{:.0f}", g.m, g.n, g.k, g.transpose_a ? "ta" : "",
                                   g.transpose_b ? "tb" : "", kinds[static_cast<int>(g.in)], 1e3 * each,
                                   static_cast<double>(times.count) / passes)] = flop / each / peak_rate;
    }
    state.counters["products_ms"] = 1e3 * products;
}

// Times every matrix product of forward and backward by shape, to find those far below the peak.
void bench_products(benchmark::State& state, const Options& options, const Backend& backend, Peak& peak) {
    ModelPass pass(options);
    Memory counting;
    pass(backend.counting_context(counting[Category::workspace]), counting);
    Memory memory(backend.exec().device, counting.peak());
    TimedBlas blas(backend.blas(), backend.exec());
    const Context plain = backend.context(memory[Category::workspace]);
    const Context context{plain.exec,      blas,          plain.solver, plain.conv, plain.communicator,
                          plain.workspace, plain.blocking};
    pass(context, memory);  // libraries load what they need
    for (auto& [gemm, times] : blas.all) times = {};
    double passes = 0, peaked = 0;
    for (auto _ : state) {
        peaked += peak.run();
        pass(context, memory);
        ++passes;
    }
    const double peak_rate = peak.flop() * passes / peaked;
    state.counters["peak_GFLOP/s"] = peak_rate / 1e9;
    report(state, blas, passes, peak_rate);
}

// A complete training step including optimizer and EMA.
void bench_step(benchmark::State& state, const Options& options, const Backend& backend, const Meter& meter,
                MemoryMode mode) {
    const TrainingOptions training = training_of(options, mode);
    if (options.tune) tuned_algorithms(training, backend);
    MemoryPlan plan = memory_plan(training, options.batch, backend);
    Memory memory(backend.exec().device, plan.bytes);
    Trainer trainer(training, backend, memory);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(options.batch * training.model.dimensions()));
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(options.batch));
    for (std::size_t i = 0; i < pixels.size(); ++i)
        pixels[i] = static_cast<std::uint8_t>(i * 2654435761u >> 24);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
    const Batch batch{options.batch, pixels.data(), numbers.data()};
    trainer.initialize(batch);
    const Schedule schedule = make_schedule(training, static_cast<index_t>(kPublishedEpochImages));
    index_t t = 0;
    const double flop = 2.0 * static_cast<double>(options.batch) * model_multiplies(training.model) *
                        (mode == MemoryMode::store ? 3 : 4);
    measure(state, backend, meter, options.min_seconds, flop, static_cast<double>(options.batch),
            [&] { trainer.step(batch, optimizer_at(training, schedule, {++t})); });
    state.counters["peak_MiB"] = static_cast<double>(total(memory.peak())) / (1 << 20);
}

// Suppresses Google Benchmark's report of times.
class NoReport : public benchmark::BenchmarkReporter {
    bool ReportContext(const Context&) override { return true; }
    void ReportRuns(const std::vector<Run>&) override {}
};

// Prints the warnings among what Google Benchmark writes about the machine.
void print_warnings(const CommandLine& command, const std::string& context) {
    constexpr std::string_view kWarning = "***WARNING*** ";
    for (const std::string& line : split_text(context, '\n'))
        if (line.starts_with(kWarning)) command.warn("{}", line.substr(kWarning.size()));
}

// Checks all options, including those that no selected benchmark uses.
void check(const Options& options) {
    const TrainingOptions training = training_of(options, MemoryMode::store);
    check(training.model);
    check(training);
}

void run(const CommandLine& command, const Options& options) {
    check(options);
    const Device device = parse_device(options.device);
    std::optional<KernelReport> kernels;
    if (options.kernels) {
        if (device != Device::cuda)
            throw InputError(
                "--kernels records the kernels of a GPU, but this runs on the CPU; use --device cuda");
        kernels.emplace(open_kernel_profiler());
    }
    Backend backend = open_backend(command, device, options.threads);
    check_precision(backend, options.precision);
    engines_of_run(training_of(options, MemoryMode::store), false, "", backend, {});  // checks them
    if (kernels) backend.set_observer(kernels->observer());
    Peak peak(backend, options.precision);
    std::vector<benchmark::internal::Benchmark*> all;
    std::vector<std::string> names;
    const auto add = [&](const std::string& name, auto bench) {
        names.push_back(name);
        all.push_back(benchmark::RegisterBenchmark(name.c_str(), [&, name, bench](benchmark::State& state) {
            bench(state, Meter{name, peak, kernels ? &*kernels : nullptr});
        }));
    };
    for (index_t level = 0; level < options.levels; ++level)
        for (const bool backward : {false, true})
            add(fmt::format("network/level{}/{}", level, backward ? "forward+backward" : "forward"),
                [&, level, backward](benchmark::State& state, const Meter& meter) {
                    bench_network(state, options, backend, meter, level, backward);
                });
    for (const MemoryMode mode : {MemoryMode::store, MemoryMode::reconstruct})
        add(fmt::format("step/{}", to_string(mode)), [&, mode](benchmark::State& state, const Meter& meter) {
            bench_step(state, options, backend, meter, mode);
        });
    if (!kernels) {
        names.emplace_back("products");
        benchmark::RegisterBenchmark(
            "products", [&](benchmark::State& state) { bench_products(state, options, backend, peak); })
            ->Unit(benchmark::kMillisecond)
            ->Iterations(3);
    }
    for (auto* one : all) {
        one->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
        if (options.repetitions > 1) one->Repetitions(options.repetitions);
    }
    NoReport none;
    std::ostringstream context;  // of a quiet table
    benchmark::ConsoleReporter table(benchmark::ConsoleReporter::OO_Tabular);
    table.SetErrorStream(&context);
    benchmark::BenchmarkReporter* reporter = nullptr;  // the default
    if (kernels)
        reporter = &none;
    else if (command.quiet() && !command.json())
        reporter = &table;
    const std::size_t matching = benchmark::RunSpecifiedBenchmarks(reporter);
    print_warnings(command, context.str());
    if (matching == 0)
        throw InputError(fmt::format("--filter {}: matches none of the benchmarks {}", options.filter,
                                     fmt::join(names, ", ")));
    if (kernels) kernels->print(command);
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv, "Speed of networks and training steps, as a share of the machine's peak.",
        [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            app.add_option("--levels", options->levels, "Levels L");
            app.add_option("--depth", options->depth, "Steps of flow per level, for whole training steps");
            app.add_option("--width", options->width, "Hidden channels");
            app.add_option("--batch", options->batch, "Images per step");
            app.add_option("--size", options->size, "Height and width of the images");
            app.add_option("--tile", options->tile, "Images per tile of the networks; 0: default rule");
            add_precision(app, options->precision);
            app.add_option("--engines", options->engines,
                           "For each level products or cudnn, as in glow_train; empty: products");
            app.add_flag(
                "--tune", options->tune,
                "Use the fastest algorithm for each matrix product of a step, as glow_train --tune does");
            app.add_flag("--graph,!--no-graph", options->graph, "Replay a step on a GPU as one CUDA graph");
            add_device(app, options->device);
            add_threads(app, options->threads);
            app.add_option("--min-seconds", options->min_seconds,
                           "Seconds per measurement, at least three runs")
                ->check(CLI::Range(0.0, 1e6));
            app.add_flag(
                   "--kernels", options->kernels,
                   "Instead of measuring, print a table of the time by kernel on a GPU (CUPTI), without a CUDA graph")
                ->default_str("");
            app.add_option("--repetitions", options->repetitions,
                           "Measure N times; also prints mean, median and standard deviation")
                ->check(CLI::Range(1, 1000000));
            app.add_option("--filter", options->filter,
                           "Regular expression that selects benchmarks such as network/level0 or step/store");
            command.action([&command, options] {
                // Google Benchmark has its own command line.
                std::vector<std::string> arguments = {command.name(), "--benchmark_filter=" + options->filter,
                                                      "--benchmark_counters_tabular=true"};
                if (command.json()) arguments.push_back("--benchmark_format=json");
                std::vector<char*> pointers;
                for (std::string& argument : arguments) pointers.push_back(argument.data());
                int count = static_cast<int>(pointers.size());
                benchmark::Initialize(&count, pointers.data());
                run(command, *options);
            });
        });
}
