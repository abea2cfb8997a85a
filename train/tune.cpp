#include "train/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "runtime/device.h"

namespace glow {
namespace {

// One coupling network of a level, with its own memory and data.
class NetworkAlone {
  public:
    NetworkAlone(const TrainingOptions& options, index_t level, Engine engine, const Backend& backend)
        : backend_(backend), shape_(level_shape(options.model, level)) {
        network_ =
            make_coupling_network(shape_, options.model.coupling, options.model.width,
                                  options.model.edge_bias, options.precision, engine, "network", parameters_);
        index_t images = slice_of(options.batch, 0, backend.communicator().size()).count;
        if (options.micro_batch > 0) images = std::min(images, options.micro_batch);
        images_ =
            images_per_tile(options.tile, shape_.pixels(), options.model.width, images, backend.blocking());
    }

    bool available() {
        Arena none(Device::count_only, Category::workspace, 0);
        return network_->can_run(backend_.context(none), images_);
    }

    // Median seconds of forward and backward; empty if the device does not have the engine.
    std::optional<double> seconds() {
        if (!available()) return std::nullopt;
        Memory counting;
        pass(backend_.counting_context(counting[Category::workspace]));
        Memory memory(backend_.exec().device, counting.peak());
        const Context context = backend_.context(memory[Category::workspace]);
        constexpr int kWarmUps = 2, kRuns = 7;
        std::vector<double> all;
        for (int run = 0; run < kWarmUps + kRuns; ++run) {
            synchronize(context.exec);
            const auto start = std::chrono::steady_clock::now();
            pass(context);
            synchronize(context.exec);
            const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
            if (run >= kWarmUps) all.push_back(elapsed.count());
        }
        std::nth_element(all.begin(), all.begin() + kRuns / 2, all.end());
        return all[kRuns / 2];
    }

  private:
    // Any values work if they are small and not zero.
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
        const FoldedNetwork folded = network_->fold_into_scratch(context);
        const FoldedGradient gradient = network_->take_gradient(context, images_);
        const CouplingNetwork::Maps maps = network_->take_maps(arena, images_);
        network_->couple(context, folded, images_, h, logdet, &maps);
        network_->backward(context, folded, {0, images_, h, dh, 0.1, &maps}, gradient, {gradients});
        network_->unfold(context, gradient, {gradients});
    }

    const Backend& backend_;
    Shape shape_;
    Parameters parameters_;
    std::unique_ptr<CouplingNetwork> network_;
    index_t images_;
};

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
                                     const std::function<void(const std::string&)>& say) {
    std::vector<Engine> engines;
    for (index_t level = 0; level < options.model.levels; ++level) {
        const auto seconds = [&](Engine engine) {
            return NetworkAlone(options, level, engine, backend).seconds();
        };
        const double products = *seconds(Engine::products);
        Engine best = Engine::products;
        double fastest = 0.98 * products;  // what another engine has to be below
        std::string line = fmt::format("tuned level {}: products {:.3f} ms", level, products * 1e3);
        for (const Engine engine : {Engine::masked_products, Engine::library}) {
            const std::optional<double> found = seconds(engine);
            line += found ? fmt::format(", {} {:.3f} ms", to_string(engine), *found * 1e3)
                          : fmt::format(", {} not available", to_string(engine));
            if (found && *found < fastest) best = engine, fastest = *found;
        }
        engines.push_back(best);
        say(line + ": " + to_string(best));
    }
    return engines;
}

std::vector<Engine> default_engines(const TrainingOptions& options, const Backend& backend) {
    std::vector<Engine> engines;
    for (index_t level = 0; level < options.model.levels; ++level)
        engines.push_back(NetworkAlone(options, level, Engine::masked_products, backend).available()
                              ? Engine::masked_products
                              : Engine::products);
    return engines;
}

std::string engines_of_run(const TrainingOptions& options, bool resuming, const std::string& recorded,
                           const Backend& backend, const std::function<void(const std::string&)>& say) {
    Communicator& processes = backend.communicator();
    const std::string wanted =
        broadcast_text(processes, options.engines.empty() ? recorded : options.engines);
    std::vector<Engine> engines = parse_engines(wanted, options.model.levels);
    if (engines.empty() && options.tune) {
        if (backend.exec().device != Device::cuda) {
            say("--tune: this device has only one convolution engine, matrix products");
            return "";
        }
        const ScopedTimeout timeout("measuring engines");
        std::string measured;
        if (processes.is_root()) measured = to_string(measured_engines(options, backend, say));
        return broadcast_text(processes, measured);
    }
    if (engines.empty() && backend.exec().device == Device::cuda) {
        std::string found;
        if (processes.is_root()) found = to_string(default_engines(options, backend));
        return broadcast_text(processes, found);
    }
    bool lacking = false;
    for (index_t level = 0; level < std::ssize(engines); ++level) {
        Engine& engine = engines[static_cast<std::size_t>(level)];
        if (engine == Engine::products) continue;
        if (NetworkAlone(options, level, engine, backend).available()) continue;
        lacking = true;
        engine = Engine::products;
    }
    if (processes.all_reduce_max(lacking) == 0) return wanted;
    if (!resuming)
        throw InputError(
            fmt::format("--engines {}: this device or build lacks them; omit the option", wanted));
    say("the checkpoint's convolution engines are not available here; using matrix products");
    return to_string(std::vector<Engine>(engines.size(), Engine::products));
}

}  // namespace glow
