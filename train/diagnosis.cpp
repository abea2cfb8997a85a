#include "train/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/math.h"
#include "runtime/device.h"

namespace glow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Statistics of some values; the last four members cover finite values only.
struct Statistics {
    index_t count = 0, nan = 0, infinite = 0;
    double smallest = 0, largest = 0, mean = 0, rms = 0;
};

Statistics statistics_of(index_t count, const float* values) {
    Statistics s;
    s.count = count;
    double sum = 0, squares = 0;
    index_t finite = 0;
    for (index_t i = 0; i < count; ++i) {
        const double x = values[i];
        if (std::isnan(x))
            ++s.nan;
        else if (std::isinf(x))
            ++s.infinite;
        else {
            s.smallest = finite == 0 ? x : std::min(s.smallest, x);
            s.largest = finite == 0 ? x : std::max(s.largest, x);
            sum += x;
            squares += x * x;
            ++finite;
        }
    }
    if (finite > 0) {
        s.mean = sum / static_cast<double>(finite);
        s.rms = std::sqrt(squares / static_cast<double>(finite));
    }
    return s;
}

std::string describe(const Statistics& s) {
    std::string text = fmt::format("{} values", s.count);
    if (s.nan > 0) text += fmt::format(", {} NaN", s.nan);
    if (s.infinite > 0) text += fmt::format(", {} infinite", s.infinite);
    if (s.nan + s.infinite < s.count)
        text += fmt::format(", {:.3g} to {:.3g}, rms {:.3g}", s.smallest, s.largest, s.rms);
    return text;
}

nlohmann::ordered_json to_json(const Statistics& s) {
    return {{"count", s.count},
            {"nan", s.nan},
            {"infinite", s.infinite},
            {"smallest", s.smallest},
            {"largest", s.largest},
            {"mean", s.mean},
            {"rms", s.rms}};
}

// The largest |x|; infinity if a value is not finite.
double largest_of(const Context& context, index_t count, const double* values) {
    double largest = 0;
    for (const double x : downloaded(context.exec, count, values))
        largest = std::isfinite(x) ? std::max(largest, std::abs(x)) : kInfinity;
    return largest;
}

struct Stage {
    std::string name;       // "level0/step1/coupling"
    double largest = 0;     // |h| after it
    bool unusable = false;  // the state, its log-determinant or density is not finite
};

std::string words_of(const std::string& layer) {
    if (layer == "dequantizer") return "after the dequantizer";
    constexpr std::string_view mixing = "/mixing";
    if (!layer.ends_with(mixing)) return "after " + layer;
    return "after the actnorm and mixing of " + layer.substr(0, layer.size() - mixing.size());
}

// Collects a stage for every layer, over all images that pass.
class StageObserver : public LayerObserver {
  public:
    StageObserver(const Context& context, const Glow& glow)
        : context_(context), values_(glow.config().dimensions()) {
        for (std::string& layer : glow.observed_layers()) stages.push_back({std::move(layer)});
    }
    void begin_pass() { next_ = 0; }
    void after(const std::string&, const Flow& flow) override {
        Stage& stage = stages[next_++];
        const double logdet = largest_of(context_, flow.N, flow.logdet),
                     prior = largest_of(context_, flow.N, flow.prior);
        stage.largest = std::max(stage.largest, largest_of(context_, flow.N * values_, flow.h));
        stage.unusable = stage.unusable || std::isinf(logdet) || std::isinf(prior);
    }

    std::vector<Stage> stages;

  private:
    const Context& context_;
    index_t values_;  // of an image
    std::size_t next_ = 0;
};

// All layers of a model with the largest absolute value of the state after each, over all processes' images.
std::vector<Stage> pass_forward(const FailureContext& failed) {
    StageObserver observer(failed.context, failed.glow);
    for (Flow flow{}; failed.next_images(flow);) {
        observer.begin_pass();
        failed.glow.forward(failed.context, flow, observer);
    }
    std::vector<Stage>& layers = observer.stages;
    std::vector<double> largest;
    for (const Stage& layer : layers) {
        largest.push_back(layer.largest);
        largest.push_back(layer.unusable ? 1 : 0);
    }
    failed.context.communicator.all_reduce_max(std::ssize(largest), largest.data());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        layers[i].largest = largest[2 * i];
        layers[i].unusable = largest[2 * i + 1] > 0 || std::isinf(layers[i].largest);
    }
    return std::move(layers);
}

bool belongs(const Tensor& tensor, const std::string& layer) {
    if (layer.empty()) return true;
    if (!layer.ends_with("/mixing")) return tensor.name.starts_with(layer + "/");
    const std::string step = layer.substr(0, layer.size() - std::string("mixing").size());
    return tensor.name.starts_with(step) && !tensor.name.starts_with(step + "coupling/");
}

template <class T>
Statistics statistics(const Context& context, const Tensor& tensor, const T* values) {
    const std::vector<T> host = downloaded(context.exec, tensor.count, values + tensor.offset);
    std::vector<float> wide(host.size());
    std::transform(host.begin(), host.end(), wide.begin(), [](T x) { return widen(x); });
    return statistics_of(tensor.count, wide.data());
}

// The layer of a tensor: "level0/step1/coupling", "level0/step1/actnorm", "prior/top".
std::string layer_of(const Tensor& tensor) {
    const std::size_t end = tensor.name.find('/', tensor.name.find("/step") + 1);
    if (tensor.name.find("/step") == std::string::npos) return tensor.name.substr(0, tensor.name.rfind('/'));
    return tensor.name.substr(0, tensor.name.find('/', end + 1));
}

// The layer's tensor with the largest weight; nullptr if it has none.
const Tensor* largest_tensor(const FailureContext& failed, const std::string& layer) {
    const Tensor* found = nullptr;
    double largest = -1;
    for (const Tensor& tensor : failed.glow.parameters().tensors()) {
        if (!belongs(tensor, layer)) continue;
        const Statistics s = statistics(failed.context, tensor, failed.weights.params);
        const double size = s.nan + s.infinite > 0 ? kInfinity : std::max(s.largest, -s.smallest);
        if (size > largest) found = &tensor;
        largest = std::max(largest, size);
    }
    return found;
}

struct Found {
    const char* kind;     // "loss", "gradient", "weights", "mixing", "loss jump", ...
    std::string message;  // problem and location
    std::string layer;
    const Tensor* tensor = nullptr;
    const char* tree = "params";
    const float* values = nullptr;   // of the tree
    const bfloat16* bf16 = nullptr;  // instead of values
};

// Builds a failure with the tensor's statistics and tables of all layers and tensors.
StepFailure failure(const FailureContext& failed, const Found& found, const std::vector<Stage>& layers = {}) {
    nlohmann::ordered_json json = {{"kind", found.kind}, {"message", ""}, {"layer", found.layer}};
    std::string message = found.message;
    if (found.tensor != nullptr) {
        const Statistics s = found.bf16 != nullptr ? statistics(failed.context, *found.tensor, found.bf16)
                                                   : statistics(failed.context, *found.tensor, found.values);
        message += fmt::format(" (/{}/{}: {})", found.tree, found.tensor->name, describe(s));
        json["tensor"] = fmt::format("/{}/{}", found.tree, found.tensor->name);
        json["statistics"] = to_json(s);
    }
    for (const Stage& layer : layers)
        json["states"].push_back(
            {{"after", layer.name}, {"largest", json_number(layer.largest)}, {"finite", !layer.unusable}});
    for (const Tensor& tensor : failed.glow.parameters().tensors()) {
        nlohmann::ordered_json row = {
            {"name", tensor.name},
            {"weights", to_json(statistics(failed.context, tensor, failed.weights.params))}};
        if (failed.gradients != nullptr)
            row["gradient"] = to_json(statistics(failed.context, tensor, failed.gradients));
        json["tensors"].push_back(row);
    }
    return {message, json};
}

template <class T>
bool is_finite(const Context& context, const Tensor& tensor, const T* values) {
    const auto finite = [](T x) { return std::isfinite(widen(x)); };
    const T* const first = values + tensor.offset;
    if (context.exec.device == Device::cpu) return std::all_of(first, first + tensor.count, finite);
    const std::vector<T> copied = downloaded(context.exec, tensor.count, first);
    return std::all_of(copied.begin(), copied.end(), finite);
}

// The tensor at which backward, which runs from the end of the flat array to its start, first had a non-finite
// gradient; nullptr if there is none.
const Tensor* first_bad_gradient(const FailureContext& failed) {
    const std::vector<Tensor>& tensors = failed.glow.parameters().tensors();
    const auto found = std::find_if(tensors.rbegin(), tensors.rend(), [&](const Tensor& tensor) {
        return !is_finite(failed.context, tensor, failed.gradients);
    });
    return found == tensors.rend() ? nullptr : &*found;
}

// If any weight is not finite, report it as the cause.
const Tensor* bad_weights(const FailureContext& failed) {
    return bad_tensor(failed.context, failed.glow.parameters(), failed.weights.params);
}

Found of_weights(const FailureContext& failed, const std::string& what, const Tensor& tensor) {
    return {"weights",        what + "the weights of " + tensor.name + " are not finite",
            layer_of(tensor), &tensor,
            "params",         failed.weights.params};
}

}  // namespace

nlohmann::ordered_json json_number(double value) {
    if (std::isfinite(value)) return value;
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

template <class T>
const Tensor* bad_tensor(const Context& context, const Parameters& parameters, const T* values) {
    const std::vector<Tensor>& tensors = parameters.tensors();
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) {
        return !is_finite(context, tensor, values);
    });
    return found == tensors.end() ? nullptr : &*found;
}

double typical_loss(const FailureContext& failed) {
    const Context& context = failed.context;
    std::vector<double> mine;
    for (Flow flow{}; failed.next_images(flow);) {
        failed.glow.forward(context, flow);
        const std::vector<double> logdet = downloaded(context.exec, flow.N, flow.logdet),
                                  prior = downloaded(context.exec, flow.N, flow.prior);
        for (std::size_t n = 0; n < logdet.size(); ++n) {
            const double bits = failed.glow.config().bits_per_dim(logdet[n] + prior[n]);
            mine.push_back(std::isfinite(bits) ? bits : kInfinity);
        }
    }
    Communicator& processes = context.communicator;
    const auto N = static_cast<index_t>(processes.all_reduce_sum(static_cast<double>(mine.size())));
    std::vector<double> all(static_cast<std::size_t>(N));
    std::copy(mine.begin(), mine.end(), all.begin() + processes.slice(N).first);
    processes.all_gather_slices(N, sizeof(double), all.data());
    const auto middle = all.begin() + (N - 1) / 2;
    std::nth_element(all.begin(), middle, all.end());
    return *middle;
}

StepFailure diagnose_loss(const FailureContext& failed, double loss, double limit) {
    if (const Tensor* const bad = bad_weights(failed))
        return failure(failed, of_weights(failed, "the loss is not finite: ", *bad));
    const std::vector<Stage> layers = pass_forward(failed);
    Found found{"loss", "the loss is not finite: ", "", nullptr, "params", failed.weights.params};
    const auto first =
        std::find_if(layers.begin(), layers.end(), [](const Stage& layer) { return layer.unusable; });
    if (first != layers.end()) {
        found.layer = first->name;
        found.message += words_of(first->name);
    } else if (!std::isfinite(loss)) {
        found.message += failed.glow.has_classifier() ? "of the classifier" : "its sum overflows";
        if (failed.glow.has_classifier()) found.layer = "classifier";
    } else {
        // The layer at which the state grew most.
        found.kind = "loss jump";
        double before = 1, most = 0;
        for (const Stage& layer : layers) {
            const double growth = layer.largest / before;
            if (growth > most) found.layer = layer.name;
            most = std::max(most, growth);
            before = std::max(1.0, layer.largest);
        }
        found.message =
            fmt::format("the loss jumps to {:.6g} bits/dim, above {:.6g}; the state grows most at {}", loss,
                        limit, found.layer);
    }
    found.tensor = largest_tensor(failed, found.layer);
    return failure(failed, found, layers);
}

StepFailure diagnose_gradient(const FailureContext& failed) {
    if (const Tensor* const bad = bad_weights(failed))
        return failure(failed, of_weights(failed, "the gradient is not finite: ", *bad));
    Found found{"gradient",      "the gradient is not finite: its norm overflows", "", nullptr, "gradients",
                failed.gradients};
    found.tensor = first_bad_gradient(failed);
    if (found.tensor != nullptr) {
        found.layer = layer_of(*found.tensor);
        found.message = "the gradient is not finite: from " + found.tensor->name + " on";
    }
    return failure(failed, found, pass_forward(failed));
}

StepFailure diagnose_fused_gradient(const FailureContext& failed, const std::string& block) {
    if (const Tensor* const bad = bad_weights(failed))
        return failure(failed, of_weights(failed, "the gradient is not finite: ", *bad));
    Found found{
        "gradient",
        "the gradient is not finite: " + (block.empty() ? "its norm overflows" : "from " + block + " on"),
        block,
        largest_tensor(failed, block),
        "params",
        failed.weights.params};
    return failure(failed, found);
}

StepFailure diagnose_mixing(const FailureContext& failed, const std::string& step, double condition,
                            double limit) {
    Found found{"mixing", "", step + "/mixing", nullptr, "params", failed.weights.params};
    const std::vector<Tensor>& tensors = failed.glow.parameters().tensors();
    if (std::isfinite(condition)) {
        found.kind = "condition jump";
        found.message =
            fmt::format("the condition number of {}'s channel mixing W jumps to {:.3g}, above {:.3g}", step,
                        condition, limit);
    } else {
        const auto bad = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) {
            const Statistics s = statistics(failed.context, tensor, failed.weights.params);
            return tensor.name.starts_with(step + "/") && s.nan + s.infinite > 0;
        });
        if (bad != tensors.end()) return failure(failed, of_weights(failed, step + ": ", *bad));
        found.message = step + ": the channel mixing W is singular";
    }
    for (const Tensor& tensor : tensors)
        if (tensor.name.starts_with(step + "/invconv/") && found.tensor == nullptr) found.tensor = &tensor;
    return failure(failed, found);
}

StepFailure diagnose_drift(const FailureContext& failed, double drift, double tolerance) {
    const std::vector<Stage> layers = pass_forward(failed);
    Found found{
        "drift",
        fmt::format("reconstructed images differ by {:.1e} from the originals even with every state saved "
                    "(--drift-tolerance {:.1e})",
                    drift, tolerance),
        "",
        largest_tensor(failed, ""),
        "params",
        failed.weights.params};
    if (found.tensor != nullptr) found.layer = layer_of(*found.tensor);
    return failure(failed, found, layers);
}

template <class T>
StepFailure diagnose_tree(const FailureContext& failed, const std::string& tree, const T* values,
                          const Tensor& tensor) {
    Found found{"weights", fmt::format("/{}/{} is not finite", tree, tensor.name), layer_of(tensor), &tensor,
                tree.c_str()};
    if constexpr (std::is_same_v<T, bfloat16>)
        found.bf16 = values;
    else
        found.values = values;
    return failure(failed, found);
}

template const Tensor* bad_tensor(const Context&, const Parameters&, const float*);
template const Tensor* bad_tensor(const Context&, const Parameters&, const bfloat16*);
template StepFailure diagnose_tree(const FailureContext&, const std::string&, const float*, const Tensor&);
template StepFailure diagnose_tree(const FailureContext&, const std::string&, const bfloat16*, const Tensor&);

}  // namespace glow
