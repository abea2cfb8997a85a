#include "inference/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <set>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"
#include "data/formats/input_path.h"
#include "inference/host_weights.h"
#include "kernels/error.h"
#include "kernels/math.h"
#include "kernels/small_matrix.h"
#include "layers/glow.h"
#include "runtime/solver.h"
#include "runtime/watchdog.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "glow-checkpoint";
// Version 2: models that a program for version 1 would read as different models.
constexpr std::int64_t kNewestVersion = 2;
std::int64_t version_for(const ModelConfig& model) {
    return model.coupling_scale == CouplingScale::sigmoid && model.dequant_depth == 0 ? 1 : 2;
}

char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

struct Tree {
    const char* path;
    float* values;             // nullptr: only checked
    bfloat16* bf16 = nullptr;  // replaces values

    bool is_wanted() const { return values != nullptr || bf16 != nullptr; }
};
std::array<Tree, 4> trees_of(const Weights& weights) {
    return {Tree{"/params", weights.params}, Tree{"/ema", weights.ema},
            Tree{"/optimizer/m", weights.m, weights.m_bf16}, Tree{"/optimizer/v", weights.v, weights.v_bf16}};
}

// Collects differences between a file and its expected contents into one message.
class Report {
  public:
    explicit Report(fs::path path) : path_(std::move(path)) {}
    void add(std::string line) {
        if (lines_.size() < kShown) lines_.push_back(std::move(line));
        ++count_;
    }
    void raise() const {
        if (count_ == 0) return;
        std::string text = fmt::format("{}: not usable as a checkpoint of this model: ", path_.string());
        for (std::size_t i = 0; i < lines_.size(); ++i) text += (i > 0 ? "; " : "") + lines_[i];
        if (count_ > lines_.size())
            text += fmt::format("; and {} more ({} in all)", count_ - lines_.size(), count_);
        throw InputError(text);
    }

  private:
    static constexpr std::size_t kShown = 20;
    fs::path path_;
    std::vector<std::string> lines_;
    std::size_t count_ = 0;
};

bool ends_with(const std::string& text, const std::string& tail) {
    return text.size() >= tail.size() && text.compare(text.size() - tail.size(), tail.size(), tail) == 0;
}

// W = P (L + I) (U + D) reads only strict triangles of lower and upper; the rest must be 0.
bool is_strict_triangle(const std::vector<float>& values, index_t C, bool lower) {
    for (index_t r = 0; r < C; ++r)
        for (index_t c = 0; c < C; ++c)
            if ((lower ? c >= r : c <= r) && values[r * C + c] != 0) return false;
    return true;
}

void check_values(const Tree& tree, const Tensor& tensor, const std::vector<float>& values, Solver& solver,
                  Report& report) {
    const std::string name = std::string(tree.path) + "/" + tensor.name;
    const auto bad = std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
    if (bad != values.end())
        return report.add(fmt::format("{} has a value that is not finite ({})", name, *bad));
    const bool second_moment = std::string(tree.path) == "/optimizer/v";
    const bool weights = std::string(tree.path) == "/params" || std::string(tree.path) == "/ema";
    if (second_moment && std::any_of(values.begin(), values.end(), [](float x) { return x < 0; }))
        report.add(name + " has a negative value");
    if (!weights) return;
    if (ends_with(tensor.name, "invconv/weight")) {
        const std::vector<double> W(values.begin(), values.end());
        std::vector<double> inverse(W.size());
        double log_abs_det, condition;
        solver.invert(1, tensor.shape[0], W.data(), inverse.data(), &log_abs_det, &condition);
        if (!std::isfinite(condition))
            report.add(fmt::format("{} is singular or nearly so (condition number above {:g})", name,
                                   kSingularCondition));
    }
    const bool lower = ends_with(tensor.name, "invconv/lower");
    if ((lower || ends_with(tensor.name, "invconv/upper")) &&
        !is_strict_triangle(values, tensor.shape[0], lower))
        report.add(fmt::format("{} is not strictly {} triangular", name, lower ? "lower" : "upper"));
}

// Permutations of 0 .. n - 1, and signs.
void check_fixed(const std::string& name, const Tensor& tensor, const std::vector<float>& values,
                 Report& report) {
    if (!tensor.integer) {
        if (!std::all_of(values.begin(), values.end(), [](float x) { return x == 1 || x == -1; }))
            report.add(name + " has a value other than 1 or -1");
        return;
    }
    std::vector<bool> seen(values.size());
    for (const float value : values) {
        const bool fits = value >= 0 && value < static_cast<float>(values.size());
        if (!fits || seen[static_cast<std::size_t>(value)])
            return report.add(fmt::format("{} is not a permutation of 0 .. {}", name, values.size() - 1));
        seen[static_cast<std::size_t>(value)] = true;
    }
}

// The tensor's values; empty if its type or shape differs.
std::vector<float> read_tensor(const Hdf5File& file, const std::string& name, const Tensor& tensor,
                               Report& report) {
    const ElementType type = tensor.integer ? ElementType::int32 : ElementType::float32;
    const char* const expected = tensor.integer ? "int32" : "float32";
    const ArrayInfo info = file.describe(name);
    if (info.type != type || info.shape != tensor.shape) {
        report.add(fmt::format("{} is {}{}, expected {} {}", name,
                               info.type == type ? std::string(expected) + " " : "of another type, ",
                               shape_text(info.shape), expected, shape_text(tensor.shape)));
        return {};
    }
    if (!tensor.integer) return file.read<float>(name, tensor.shape);
    const std::vector<std::int32_t> whole = file.read<std::int32_t>(name, tensor.shape);
    return {whole.begin(), whole.end()};
}

// Copies a tensor into a flat array of `size` elements; the gap after it becomes 0.
template <class T>
void store(const std::vector<float>& values, const Tensor& tensor, index_t size, T* array) {
    if (array == nullptr) return;
    T* const end = std::transform(values.begin(), values.end(), array + tensor.offset,
                                  [](float x) { return round_to<T>(x); });
    std::fill(end, array + std::min(size, tensor.offset + tensor.padded_count()), T{});
}

void read_tree(const Hdf5File& file, const Parameters& parameters, Solver& solver, const Tree& tree,
               float* fixed, Report& report) {
    std::set<std::string> unexpected;
    for (const std::string& name : file.arrays(tree.path)) unexpected.insert(name);
    const auto each = [&](const std::vector<Tensor>& tensors, auto use) {
        for (const Tensor& tensor : tensors) {
            const std::string name = std::string(tree.path) + "/" + tensor.name;
            if (unexpected.erase(name) == 0) {
                report.add(name + " is missing");
                continue;
            }
            const std::vector<float> values = read_tensor(file, name, tensor, report);
            if (!values.empty()) use(name, tensor, values);
        }
    };
    each(parameters.tensors(), [&](const std::string&, const Tensor& tensor, const auto& values) {
        check_values(tree, tensor, values, solver, report);
        store(values, tensor, parameters.size(), tree.values);
        store(values, tensor, parameters.size(), tree.bf16);
    });
    if (std::string(tree.path) == "/params")
        each(parameters.fixed_tensors(),
             [&](const std::string& name, const Tensor& tensor, const auto& values) {
                 check_fixed(name, tensor, values, report);
                 store(values, tensor, parameters.fixed_size(), fixed);
             });
    for (const std::string& name : unexpected) report.add(name + " is not part of this model");
}

// Of a folder without latest.h5: "; did you mean its newest, runs/a/checkpoints/step-00000100.h5?", if it is
// the folder of a run's checkpoints, or the runs in it.
std::string did_you_mean_checkpoint(const fs::path& folder) {
    constexpr std::size_t kMaxRuns = 3;
    std::error_code failed, ignored;
    fs::path newest;
    std::vector<std::string> runs;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        const fs::path& path = entry->path();
        const std::string name = path.filename().string();
        if (name.starts_with("step-") && name.ends_with(".h5"))
            newest = std::max(newest, path);  // numbers of steps have leading zeros
        else if (entry->is_directory(ignored) && fs::exists(path / "latest.h5", ignored))
            runs.push_back(path.string());
    }
    if (!newest.empty()) return fmt::format("; did you mean its newest, {}?", newest.string());
    if (runs.size() > kMaxRuns) return fmt::format("; did you mean one of the {} runs in it?", runs.size());
    std::sort(runs.begin(), runs.end());
    std::string text;
    for (std::size_t n = 0; n < runs.size(); ++n) text += (n == 0 ? "; did you mean " : " or ") + runs[n];
    return text.empty() ? "" : text + "?";
}

// Suffixes of files with weights of other programs.
bool has_foreign_suffix(const fs::path& path) {
    std::string suffix = path.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(), to_lower);
    constexpr const char* kForeign[] = {".npz", ".safetensors", ".pt", ".pth", ".ckpt"};
    return std::find(std::begin(kForeign), std::end(kForeign), suffix) != std::end(kForeign);
}

Hdf5File open_checkpoint(const fs::path& path) try {
    return Hdf5File::open(path);
} catch (const InputError& error) {
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored) || !has_foreign_suffix(path)) throw;
    throw InputError(fmt::format("{}; glow_convert --from imports weights of other programs", error.what()));
}

}  // namespace

fs::path find_checkpoint(const fs::path& file_or_folder) {
    std::error_code ignored;
    if (!fs::is_directory(file_or_folder, ignored)) return file_or_folder;
    const fs::path latest = file_or_folder / "latest.h5";
    if (fs::exists(latest, ignored)) return latest;
    if (fs::is_symlink(latest, ignored))  // for example, its folder of checkpoints was not copied
        throw InputError(fmt::format("{}: {}", latest.string(), file_problem(latest)));
    throw InputError(fmt::format("{}: the folder has no checkpoint (latest.h5){}", file_or_folder.string(),
                                 did_you_mean_checkpoint(file_or_folder)));
}

fs::path resolve_link(const fs::path& checkpoint) {
    std::error_code error;
    if (!fs::is_symlink(checkpoint, error)) return checkpoint;
    const fs::path target = fs::read_symlink(checkpoint, error);
    return error ? checkpoint : checkpoint.parent_path() / target;  // an absolute target replaces the folder
}

void refuse_suffix_of_other_format(const fs::path& checkpoint) {
    std::string suffix = checkpoint.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(), to_lower);
    for (const char* const other : {".safetensors", ".npz", ".onnx"})
        if (suffix == other)
            throw InputError(fmt::format(
                "{}: this writes a checkpoint, whose name must end in .h5, not in {} of another format: "
                "glow_convert --to {} writes that from a checkpoint",
                checkpoint.string(), suffix, suffix.substr(1)));
}

void save_checkpoint(const fs::path& path, const nlohmann::ordered_json& config, const Progress& progress,
                     const nlohmann::ordered_json& history, const Parameters& parameters, const Exec& exec,
                     const Weights& device) {
    HostWeights host(exec, parameters, device);
    host.fetch();
    const Weights& weights = host.get();
    AtomicFile atomic(path);
    Hdf5File file = Hdf5File::create(atomic.temporary(), path);
    file.set_string("/", "format", kFormat);
    file.set_integer("/", "version", version_for(model_from_json(config)));
    file.set_string("/", "config", config.dump());
    file.set_integer("/", "step", progress.step);
    file.set_integer("/", "images_seen", progress.images_seen);
    file.set_number("/", "epoch", progress.epoch);
    if (!history.is_null()) file.set_string("/", "course", history.dump());
    std::vector<float> wide;
    for (const Tree& tree : trees_of(weights)) {
        if (!tree.is_wanted()) continue;
        for (const Tensor& tensor : parameters.tensors()) {
            const float* values = tree.values;
            if (tree.bf16 == nullptr) {
                values += tensor.offset;
            } else {
                const bfloat16* const bf16 = tree.bf16 + tensor.offset;
                wide.resize(static_cast<std::size_t>(tensor.count));
                std::transform(bf16, bf16 + tensor.count, wide.begin(), [](bfloat16 x) { return widen(x); });
                values = wide.data();
            }
            file.write<float>(std::string(tree.path) + "/" + tensor.name, tensor.shape, values);
        }
    }
    for (const Tensor& tensor : parameters.fixed_tensors()) {
        const std::string name = "/params/" + tensor.name;
        const float* const values = weights.fixed + tensor.offset;
        if (tensor.integer) {
            const std::vector<std::int32_t> whole(values, values + tensor.count);
            file.write<std::int32_t>(name, tensor.shape, whole.data());
        } else {
            file.write<float>(name, tensor.shape, values);
        }
    }
    file.close();
    atomic.commit();
}

nlohmann::ordered_json parse_config(const std::string& text) {
    // The JSON library recurses: deep nesting would overflow the stack.
    const auto shallow = [](int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json&) {
        if (depth > 8) throw InputError("attribute config is nested too deeply");
        return true;
    };
    nlohmann::ordered_json config = nlohmann::ordered_json::parse(text, shallow, false);
    if (config.is_discarded()) throw InputError("attribute config is not JSON");
    return config;
}

CheckpointInfo read_checkpoint_info(const fs::path& path) {
    const ScopedTimeout timeout("reading a checkpoint");
    const Hdf5File file = open_checkpoint(path);
    const std::string format =
        file.has_attribute("/", "format") ? file.string_attribute("/", "format") : "none";
    if (format != kFormat)
        throw InputError(fmt::format("{}: not a checkpoint: expected format \"{}\", found \"{:.60}\"",
                                     path.string(), kFormat, format));
    const std::int64_t version = file.integer_attribute("/", "version");
    if (version < 1 || version > kNewestVersion)
        throw InputError(fmt::format("{}: checkpoint version {}; this program reads versions 1 to {}",
                                     path.string(), version, kNewestVersion));
    CheckpointInfo info;
    try {
        info.config = parse_config(file.string_attribute("/", "config"));
        info.model = model_from_json(info.config);
        if (file.has_attribute("/", "course"))  // absent in files of other programs
            info.history = parse_config(file.string_attribute("/", "course"));
    } catch (const InputError& error) {
        throw InputError(fmt::format("{}: {}", path.string(), error.what()));
    }
    // Building a model of a million steps takes long; check first that the file contains them.
    const index_t steps = info.model.levels * info.model.depth;
    if (static_cast<index_t>(file.arrays("/params").size()) < steps)
        throw InputError(fmt::format("{}: config claims {} steps of flow, more than the tensors in /params",
                                     path.string(), steps));
    info.progress.step = file.integer_attribute("/", "step");
    info.progress.images_seen = file.integer_attribute("/", "images_seen");
    info.progress.epoch = file.number_attribute("/", "epoch");
    const index_t most = index_t{1} << 52;
    if (info.progress.step < 0 || info.progress.images_seen < 0 || info.progress.step > most ||
        info.progress.images_seen > most || !(info.progress.epoch >= 0 && std::isfinite(info.progress.epoch)))
        throw InputError(fmt::format("{}: step {}, images_seen {} or epoch {} is out of range", path.string(),
                                     info.progress.step, info.progress.images_seen, info.progress.epoch));
    return info;
}

CheckpointInfo check_checkpoint(const fs::path& path) {
    const ScopedTimeout timeout("reading a checkpoint");
    const CheckpointInfo info = read_checkpoint_info(path);
    const Glow glow(info.model, {});
    const Hdf5File file = Hdf5File::open(path);
    for (const char* const tree : {"/params", "/ema", "/optimizer/m", "/optimizer/v"})
        if (!file.exists(tree)) throw InputError(fmt::format("{}: {} is missing", path.string(), tree));
    load_checkpoint(path, glow.parameters(), {}, {});
    return info;
}

void load_checkpoint(const fs::path& path, const Parameters& parameters, const Exec& exec,
                     const Weights& device) {
    const ScopedTimeout timeout("reading a checkpoint");
    const Hdf5File file = Hdf5File::open(path);
    Report report(path);
    const HostWeights host(exec, parameters, device);
    const Weights& weights = host.get();
    const std::unique_ptr<Solver> solver = make_cpu_solver();
    for (const Tree& tree : trees_of(weights))
        if (tree.is_wanted() || file.exists(tree.path))
            read_tree(file, parameters, *solver, tree, weights.fixed, report);
    report.raise();
    host.send();
}

}  // namespace glow
