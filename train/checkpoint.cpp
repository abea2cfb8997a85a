// Reading and writing checkpoints.
#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/error.h"
#include "train/data/atomic_file.h"
#include "train/data/hdf5_file.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "glow-checkpoint";
constexpr std::int64_t kVersion = 1;

struct Tree {
    const char* path;
    float* values;  // nullptr: checked only
};

// Differences between a file and what is expected of it, told together.
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
    if (weights && ends_with(tensor.name, "invconv/weight")) {
        const std::vector<double> W(values.begin(), values.end());
        std::vector<double> inverse(W.size());
        if (solver.invert(tensor.shape[0], W.data(), inverse.data()).singular)
            report.add(name + " is singular or nearly so (condition number above 1e14)");
    }
}

void read_tree(const Hdf5File& file, const Parameters& parameters, Solver& solver, const Tree& tree,
               Report& report) {
    std::set<std::string> unexpected;
    for (const std::string& name : file.arrays(tree.path)) unexpected.insert(name);
    for (const Tensor& tensor : parameters.tensors()) {
        const std::string name = std::string(tree.path) + "/" + tensor.name;
        if (unexpected.erase(name) == 0) {
            report.add(name + " is missing");
            continue;
        }
        const ArrayInfo info = file.describe(name);
        if (info.type != ElementType::float32 || info.shape != tensor.shape) {
            report.add(fmt::format("{} is {}{}, expected float32 {}", name,
                                   info.type == ElementType::float32 ? "float32 " : "of another type, ",
                                   shape_text(info.shape), shape_text(tensor.shape)));
            continue;
        }
        const std::vector<float> values = file.read<float>(name, tensor.shape);
        check_values(tree, tensor, values, solver, report);
        if (tree.values == nullptr) continue;
        float* const end = std::copy(values.begin(), values.end(), tree.values + tensor.offset);
        std::fill(end,
                  tree.values + std::min(parameters.size(), tensor.offset + (tensor.count + 15) / 16 * 16),
                  0.0f);
    }
    for (const std::string& name : unexpected) report.add(name + " is not part of this model");
}

}  // namespace

fs::path find_checkpoint(const fs::path& file_or_folder) {
    std::error_code ignored;
    if (!fs::is_directory(file_or_folder, ignored)) return file_or_folder;
    const fs::path latest = file_or_folder / "latest.h5";
    if (fs::exists(latest, ignored)) return latest;
    throw InputError(fmt::format("{}: the folder holds no checkpoint (latest.h5)", file_or_folder.string()));
}

void save_checkpoint(const fs::path& path, const nlohmann::ordered_json& config, const Progress& progress,
                     const Parameters& parameters, const Weights& weights) {
    AtomicFile atomic(path);
    Hdf5File file = Hdf5File::create(atomic.temporary(), path);
    file.set_string("/", "format", kFormat);
    file.set_integer("/", "version", kVersion);
    file.set_string("/", "config", config.dump());
    file.set_integer("/", "step", progress.step);
    file.set_integer("/", "images_seen", progress.images_seen);
    file.set_number("/", "epoch", progress.epoch);
    for (const Tree& tree : {Tree{"/params", weights.params}, Tree{"/ema", weights.ema},
                             Tree{"/optimizer/m", weights.m}, Tree{"/optimizer/v", weights.v}}) {
        if (tree.values == nullptr) continue;
        for (const Tensor& tensor : parameters.tensors())
            file.write<float>(std::string(tree.path) + "/" + tensor.name, tensor.shape,
                              tree.values + tensor.offset);
    }
    file.close();
    atomic.commit();
}

CheckpointInfo read_checkpoint_info(const fs::path& path) {
    const Hdf5File file = Hdf5File::open(path);
    if (!file.has_attribute("/", "format") || file.string_attribute("/", "format") != kFormat)
        throw InputError(
            fmt::format("{}: not a checkpoint (attribute format is not \"{}\")", path.string(), kFormat));
    const std::int64_t version = file.integer_attribute("/", "version");
    if (version != kVersion)
        throw InputError(fmt::format("{}: checkpoint version {}; this program reads version {}",
                                     path.string(), version, kVersion));
    CheckpointInfo info;
    // JSON's own functions recurse: text of a million brackets would end them.
    const auto shallow = [&](int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json&) {
        if (depth > 8)
            throw InputError(fmt::format("{}: attribute config is nested too deeply", path.string()));
        return true;
    };
    info.config = nlohmann::ordered_json::parse(file.string_attribute("/", "config"), shallow, false);
    if (info.config.is_discarded())
        throw InputError(fmt::format("{}: attribute config is not JSON", path.string()));
    try {
        info.model = model_from_json(info.config);
    } catch (const InputError& error) {
        throw InputError(fmt::format("{}: {}", path.string(), error.what()));
    }
    // A model of a million steps takes long to lay out: not on the word of a file that does not hold it.
    const index_t steps = info.model.levels * info.model.depth;
    if (static_cast<index_t>(file.arrays("/params").size()) < steps)
        throw InputError(fmt::format("{}: config claims {} steps of flow, more than /params holds tensors",
                                     path.string(), steps));
    info.progress.step = file.integer_attribute("/", "step");
    info.progress.images_seen = file.integer_attribute("/", "images_seen");
    info.progress.epoch = file.number_attribute("/", "epoch");
    const index_t most = index_t{1} << 52;
    if (info.progress.step < 0 || info.progress.images_seen < 0 || info.progress.step > most ||
        info.progress.images_seen > most || !(info.progress.epoch >= 0 && info.progress.epoch < 1e300))
        throw InputError(fmt::format("{}: step {}, images_seen {} or epoch {} is out of range", path.string(),
                                     info.progress.step, info.progress.images_seen, info.progress.epoch));
    return info;
}

void load_checkpoint(const fs::path& path, const Parameters& parameters, Solver& solver,
                     const Weights& weights) {
    const Hdf5File file = Hdf5File::open(path);
    Report report(path);
    for (const Tree& tree : {Tree{"/params", weights.params}, Tree{"/ema", weights.ema},
                             Tree{"/optimizer/m", weights.m}, Tree{"/optimizer/v", weights.v}})
        if (tree.values != nullptr || file.exists(tree.path))
            read_tree(file, parameters, solver, tree, report);
    report.raise();
}

}  // namespace glow
