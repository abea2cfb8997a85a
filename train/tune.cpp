#include "train/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "runtime/device.h"

namespace glow {
namespace {

// Time of another choice, relative to the first, below which it replaces the first: differences of less are noise.
constexpr double kClearlyFaster = 0.98;

double median_seconds(const Exec& exec, int warm_ups, int runs, const std::function<void()>& work) {
    std::vector<double> all;
    for (int run = 0; run < warm_ups + runs; ++run) {
        synchronize(exec);
        const auto start = std::chrono::steady_clock::now();
        work();
        synchronize(exec);
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        if (run >= warm_ups) all.push_back(elapsed.count());
    }
    std::nth_element(all.begin(), all.begin() + runs / 2, all.end());
    return all[static_cast<std::size_t>(runs / 2)];
}

// Before the first run of each product, times every algorithm of the library on its operands and keeps the
// fastest. Accumulating products accumulate repeatedly.
class TuningBlas : public Blas {
  public:
    TuningBlas(Blas& blas, const Exec& exec, std::map<Gemm, int>& chosen)
        : blas_(blas), exec_(exec), chosen_(chosen) {}
    std::size_t scratch_bytes(const Gemm& gemm) override { return blas_.scratch_bytes(gemm); }
    bool has_bf16() const override { return blas_.has_bf16(); }
    bool has_tf32() const override { return blas_.has_tf32(); }
    void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        if (chosen_.find(gemm) == chosen_.end()) {
            int best = 0;
            double fastest = 0;
            for (int algorithm = 0; algorithm < blas_.algorithms(gemm); ++algorithm) {
                blas_.choose(gemm, algorithm);
                const double seconds = median_seconds(exec_, 2, 7, [&] {
                    for (int i = 0; i < kProducts; ++i) blas_.run(gemm, a, b, c, data, scratch);
                });
                if (algorithm == 0) fastest = kClearlyFaster * seconds;
                if (algorithm > 0 && seconds < fastest) best = algorithm, fastest = seconds;
            }
            blas_.choose(gemm, best);
            chosen_[gemm] = best;
        }
        blas_.run(gemm, a, b, c, data, scratch);
    }

  private:
    static constexpr int kProducts = 10;  // per measurement: a wait takes as long as a small product
    Blas& blas_;
    Exec exec_;
    std::map<Gemm, int>& chosen_;
};

// One coupling network of a level, with its own memory and data.
class NetworkTimer {
  public:
    NetworkTimer(const TrainingOptions& options, index_t level, Engine engine, const Backend& backend)
        : backend_(backend),
          shape_(level_shape(options.model, level)),
          saves_maps_(options.memory == MemoryMode::store) {
        network_ =
            make_network(network_shape(shape_, coupling_options(options.model)),
                         options.model.coupling_form(), options.precision, engine, "network", parameters_);
        images_ =
            images_per_tile(options.tile, shape_.pixels(), options.model.width,
                            images_per_pass(options, backend.communicator().size()), backend.blocking());
    }

    bool available() {
        Arena none(Device::count_only, Category::workspace, 0);
        return network_->can_run(backend_.context(none), images_);
    }

    // Median seconds of forward and backward; empty if the device does not have the engine.
    std::optional<double> seconds() {
        if (!available()) return std::nullopt;
        return with_memory([&](const Context& context) {
            return median_seconds(context.exec, 2, 7, [&] { pass(context); });
        });
    }

    // Adds the fastest algorithm of each product of forward and backward, and chooses it.
    void tune_products(std::map<Gemm, int>& chosen) {
        with_memory([&](const Context& context) {
            TuningBlas blas(context.blas, context.exec, chosen);
            pass({context.exec, blas, context.solver, context.conv, context.communicator, context.workspace,
                  context.blocking});
            return 0.0;
        });
    }

  private:
    double with_memory(const std::function<double(const Context&)>& f) {
        Memory counting;
        pass(backend_.counting_context(counting[Category::workspace]));
        Memory memory(backend_.exec().device, counting.peak());
        return f(backend_.context(memory[Category::workspace]));
    }

    // Forward and backward under the run's memory policy. Any small nonzero values serve as data.
    void pass(const Context& context) {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const index_t rows = images_ * shape_.pixels();
        float* const values = arena.take<float>(parameters_.size());
        float* const gradients = arena.take<float>(parameters_.size());
        state_t* const h = arena.take<state_t>(rows * shape_.C);
        float* const dh = arena.take<float>(rows * shape_.C);
        double* const logdet = arena.take<double>(images_);
        fill(context.exec, parameters_.size(), 0.01f, values);
        fill(context.exec, parameters_.size(), 0.0f, gradients);
        fill(context.exec, rows * shape_.C, 0.25, h);
        fill(context.exec, rows * shape_.C, 1e-3f, dh);
        fill(context.exec, images_, 0.0, logdet);
        parameters_.bind(values);
        const FoldedNetwork folded = network_->folded(context);
        const FoldedGradient gradient = network_->take_gradient(context, images_);
        std::optional<CouplingNetwork::Maps> maps;
        if (saves_maps_) maps = network_->take_maps(arena, images_);
        const CouplingNetwork::Maps* const saved = maps ? &*maps : nullptr;
        network_->couple(context, folded, images_, {h, shape_.C}, h, logdet, saved);
        network_->backward(context, folded, {0, images_, {h, shape_.C}, dh, h, dh, 0.1, saved}, gradient,
                           {gradients});
        network_->unfold(context, gradient, {gradients});
    }

    const Backend& backend_;
    Shape shape_;
    bool saves_maps_;
    Parameters parameters_;
    std::unique_ptr<CouplingNetwork> network_;
    index_t images_;
};

// "nt 65536 512 512 bf16 bf16 bias_relu set 3": a dense product and its algorithm.
std::string text_of(const Gemm& g, int algorithm) {
    return fmt::format("{}{} {} {} {} {} {} {} {} {}", g.transpose_a ? 't' : 'n', g.transpose_b ? 't' : 'n',
                       g.m, g.n, g.k, to_string(g.in), to_string(g.out), to_string(g.epilogue),
                       g.accumulate ? "add" : "set", algorithm);
}

std::pair<Gemm, int> parse_algorithm(const std::string& text) {
    std::istringstream words(text);
    std::string kind, in, out, epilogue, mode;
    index_t m = 0, n = 0, k = 0;
    int algorithm = -1;
    words >> kind >> m >> n >> k >> in >> out >> epilogue >> mode >> algorithm;
    const auto of = find_name<Scalar>(in), to = find_name<Scalar>(out);
    const auto end = find_name<Epilogue>(epilogue);
    std::string rest;
    if (!words || (words >> rest) || !of || !to || !end || std::min({m, n, k}) < 1 || algorithm < 0 ||
        (kind != "nn" && kind != "nt" && kind != "tn") || (mode != "add" && mode != "set"))
        throw InputError("--algorithms: '" + text + "' is not an entry that --tune records");
    const auto dense = kind == "nn" ? gemm_nn : kind == "nt" ? gemm_nt : gemm_tn;
    return {dense(m, n, k, *of, *to).with(*end).adding(mode == "add"), algorithm};
}

}  // namespace

std::string to_string(const std::vector<Engine>& engines) {
    std::string text;
    for (const Engine engine : engines) {
        if (!text.empty()) text += ',';
        text += to_string(engine);
    }
    return text;
}

std::vector<Engine> parse_engines(const std::string& text, index_t levels) {
    std::vector<Engine> engines;
    if (text.empty()) return engines;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        const std::string name = text.substr(begin, end - begin);
        const std::optional<Engine> engine = find_name<Engine>(name);
        if (!engine)
            throw InputError(
                fmt::format("--engines {}: each must be {}, got '{}'", text, known_names<Engine>(), name));
        engines.push_back(*engine);
        begin = end + 1;
    }
    if (std::ssize(engines) != levels)
        throw InputError(
            fmt::format("--engines {}: {} engines, but {} levels", text, engines.size(), levels));
    return engines;
}

std::vector<Engine> measured_engines(const TrainingOptions& options, const Backend& backend,
                                     const std::function<void(const std::string&)>& info) {
    std::vector<Engine> engines;
    for (index_t level = 0; level < options.model.levels; ++level) {
        const auto seconds = [&](Engine engine) {
            return NetworkTimer(options, level, engine, backend).seconds();
        };
        const double products = *seconds(Engine::gemm);
        const std::optional<double> library = seconds(Engine::library);
        const bool faster = library && *library < kClearlyFaster * products;
        engines.push_back(faster ? Engine::library : Engine::gemm);
        info(fmt::format("tuned level {}: products {:.3f} ms, cudnn {}: {}", level, products * 1e3,
                         library ? fmt::format("{:.3f} ms", *library * 1e3) : "not available",
                         to_string(engines.back())));
    }
    return engines;
}

std::string engines_of_run(const TrainingOptions& options, bool resuming, const std::string& recorded,
                           const Backend& backend, const std::function<void(const std::string&)>& info) {
    Communicator& processes = backend.communicator();
    const std::string wanted =
        broadcast_text(processes, options.engines.empty() ? recorded : options.engines);
    std::vector<Engine> engines = parse_engines(wanted, options.model.levels);
    if (engines.empty() && options.tune) {
        if (backend.exec().device != Device::cuda) {
            info("--tune: this device has only one convolution engine, matrix products");
            return "";
        }
        const ScopedTimeout timeout("measuring engines");
        std::string measured;
        if (processes.is_root()) measured = to_string(measured_engines(options, backend, info));
        return broadcast_text(processes, measured);
    }
    bool lacking = false;
    for (index_t level = 0; level < std::ssize(engines); ++level) {
        Engine& engine = engines[static_cast<std::size_t>(level)];
        if (engine == Engine::gemm) continue;
        if (NetworkTimer(options, level, engine, backend).available()) continue;
        lacking = true;
        engine = Engine::gemm;
    }
    if (processes.all_reduce_max(lacking) == 0) return wanted;
    if (!resuming)
        throw InputError(
            fmt::format("--engines {}: this device or build lacks them; omit the option", wanted));
    info("the checkpoint's convolution engines are not available here; using matrix products");
    return to_string(std::vector<Engine>(engines.size(), Engine::gemm));
}

std::map<Gemm, int> parse_algorithms(const std::string& text) {
    std::map<Gemm, int> algorithms;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find(", ", begin), text.size());
        algorithms.insert(parse_algorithm(text.substr(begin, end - begin)));
        begin = end + 2;
    }
    return algorithms;
}

std::string tuned_algorithms(const TrainingOptions& options, const Backend& backend) {
    const std::vector<Engine> engines = parse_engines(options.engines, options.model.levels);
    std::map<Gemm, int> chosen;
    for (index_t level = 0; level < options.model.levels; ++level)
        NetworkTimer(options, level,
                     engines.empty() ? Engine::gemm : engines[static_cast<std::size_t>(level)], backend)
            .tune_products(chosen);
    std::string text;
    for (const auto& [gemm, algorithm] : chosen)
        if (algorithm > 0) text += (text.empty() ? "" : ", ") + text_of(gemm, algorithm);
    return text;
}

bool measures_algorithms(const TrainingOptions& options, const TrainingOptions* resumed) {
    if (!options.tune || !options.algorithms.empty()) return false;
    return resumed == nullptr || (!resumed->tune && resumed->algorithms.empty());
}

std::string algorithms_of_run(const TrainingOptions& options, const TrainingOptions* resumed,
                              const Backend& backend, const std::function<void(const std::string&)>& info) {
    if (backend.exec().device != Device::cuda) return options.algorithms;
    Communicator& processes = backend.communicator();
    std::string wanted =
        options.algorithms.empty() && resumed != nullptr ? resumed->algorithms : options.algorithms;
    const bool measures = measures_algorithms(options, resumed);
    if (measures && processes.is_root()) wanted = tuned_algorithms(options, backend);
    const ScopedTimeout timeout("measuring matrix products");
    wanted = broadcast_text(processes, wanted);
    const std::map<Gemm, int> algorithms = parse_algorithms(wanted);
    for (const auto& [gemm, algorithm] : algorithms) backend.blas().choose(gemm, algorithm);
    if (measures)
        info(fmt::format("tuned matrix products: {} of them use another algorithm than cuBLAS's first choice",
                         algorithms.size()));
    return wanted;
}

}  // namespace glow
