// Resuming.
#include "train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <vector>

#include "inference/model_file.h"
#include "kernels/error.h"

namespace glow {

namespace fs = std::filesystem;

namespace {

// The newest whole checkpoint of the folder, from latest.h5 backwards.
std::optional<ResumedRun> newest_whole(const RunFolder& folder,
                                       const std::function<void(const std::string&)>& warn) {
    std::error_code ignored;
    std::vector<fs::path> candidates;
    const bool has_latest = fs::exists(fs::symlink_status(folder.latest(), ignored));
    if (has_latest) candidates.push_back(folder.latest());
    const std::optional<index_t> linked = RunFolder::step_of(folder.latest());
    for (const RunFolder::Saved& saved : folder.saved())
        if (!linked || saved.step < *linked)
            candidates.push_back(saved.path);  // not what a run went back from

    ResumedRun found;
    std::string problems;
    for (const fs::path& path : candidates) {
        try {
            found.checkpoint = check_checkpoint(path);
            found.from = path;
        } catch (const InputError& error) {
            warn(fmt::format("{}; looking for an older checkpoint", error.what()));
            problems += fmt::format("; {}", error.what());
            const fs::path file = fs::weakly_canonical(path, ignored);
            if (fs::is_regular_file(file, ignored)) found.damaged.push_back(file);
            continue;
        }
        if (!has_latest || path != folder.latest())
            warn(fmt::format("going on from {}: {}", path.string(),
                             has_latest ? "the newest checkpoint that is whole" : "there is no latest.h5"));
        return found;
    }
    if (candidates.empty()) return {};
    throw InputError(
        fmt::format("{}: none of the run's checkpoints can be used{}", folder.latest().string(), problems));
}

}  // namespace

std::optional<ResumedRun> find_run_to_resume(const RunRequest& request, const RunFolder& folder) {
    if (!request.resume && folder.holds_run())
        throw InputError(fmt::format(
            "{}: the folder holds a run; go on with --resume, or choose another --out", request.options.out));
    if (!request.resume) return {};
    if (request.resume_from.empty()) return newest_whole(folder, request.warn);
    const fs::path from = find_checkpoint(request.resume_from);
    return ResumedRun{from, read_checkpoint_info(from), {}};
}

std::string find_data_of_run(const TrainingOptions& configured, const RunFolder& folder) {
    std::error_code ignored;
    const fs::path data = configured.data;
    if (data.empty() || configured.out.empty()) return configured.data;
    if (data.is_absolute() && fs::exists(data, ignored)) return configured.data;
    const fs::path from_folder = data.lexically_relative(configured.out);
    if (from_folder.empty()) return configured.data;
    const fs::path found = (fs::absolute(folder.path(), ignored) / from_folder).lexically_normal();
    if (!fs::exists(found, ignored) || fs::equivalent(found, data, ignored)) return configured.data;
    return found.string();
}

int threads_of(const CheckpointInfo& checkpoint) {
    const nlohmann::ordered_json training =
        checkpoint.config.value("training", nlohmann::ordered_json::object());
    if (!training.contains("threads") || !training["threads"].is_number_integer()) return 0;
    const std::int64_t threads = training["threads"];
    return threads > 0 && threads <= 4096 ? static_cast<int>(threads) : 0;
}

std::string engines_of(const CheckpointInfo& checkpoint) {
    const nlohmann::ordered_json training =
        checkpoint.config.value("training", nlohmann::ordered_json::object());
    const auto found = training.find("engines");
    return found != training.end() && found->is_string() ? found->get<std::string>() : "";
}

void compare_options(const CheckpointInfo& checkpoint, const TrainingOptions& options,
                     const std::function<void(const std::string&)>& say) {
    const nlohmann::ordered_json now = to_json(options), then = checkpoint.config;
    const nlohmann::ordered_json model = to_json(options.model);
    std::string refused;
    std::vector<std::string> changes;
    for (const auto& [key, value] : model.items())
        if (then.value(key, nlohmann::ordered_json()) != value)
            refused += fmt::format("{} is {} and was {}; ", key, value.dump(),
                                   then.value(key, nlohmann::ordered_json()).dump());
    const nlohmann::ordered_json training = then.value("training", nlohmann::ordered_json::object());
    visit_training_options(options, [&](const char* name, const auto&, OnResume on_resume, const char*) {
        if (on_resume == OnResume::free || !training.contains(name)) return;
        const nlohmann::ordered_json &was = training[name], &is = now["training"][name];
        if (was == is) return;
        if (std::string_view(name) == "data" && was.is_string() &&
            absolute_name(was.get<std::string>()) == absolute_name(options.data))
            return;
        const std::string change = fmt::format("{} is {} and was {}", name, is.dump(), was.dump());
        if (on_resume == OnResume::fixed)
            refused += change + "; ";
        else
            changes.push_back(change);
    });
    if (!refused.empty())
        throw InputError(
            fmt::format("the run cannot be resumed with other settings: {}give the checkpoint's, or start a "
                        "new run with --init-from",
                        refused));
    for (const std::string& change : changes) say("changed on resume: " + change);
}

TrainingHistory resumed_history(const CheckpointInfo& checkpoint, const TrainingOptions& options) {
    TrainingHistory history = training_progress(checkpoint).history;
    const nlohmann::ordered_json training =
        checkpoint.config.value("training", nlohmann::ordered_json::object());
    if (training.value("lr", nlohmann::ordered_json(options.lr)) != nlohmann::ordered_json(options.lr)) {
        history.lr_scale = 1;
        history.rollbacks = 0;
    }
    return history;
}

Evaluated read_evaluations(const RunFolder& folder, index_t at_step) {
    Evaluated found;
    std::error_code ignored;
    const bool has_best = fs::exists(folder.best(), ignored);
    std::ifstream rows(folder.evaluations());
    for (std::string row; std::getline(rows, row);) {
        long long step = 0;
        double bits = 0;
        char weights[4] = "";
        if (std::sscanf(row.c_str(), "%lld,valid,%lf,%*[^,],%*[^,],%3s", &step, &bits, weights) != 3)
            continue;
        const bool ema = std::string_view(weights) == "ema";
        if (ema && has_best) found.best = std::min(found.best, bits);
        if (step == at_step) (ema ? found.ema : found.raw) = bits;
    }
    return found;
}

}  // namespace glow
