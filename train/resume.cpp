#include "train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "data/data_fingerprint.h"
#include "data/formats/input_path.h"
#include "inference/model_file.h"
#include "kernels/error.h"

namespace glow {

namespace fs = std::filesystem;

namespace {

ResumedRun resumed_run(const fs::path& from, CheckpointInfo checkpoint, const RunRequest& request) {
    ResumedRun resumed{from, std::move(checkpoint), {}, {}};
    try {
        resumed.options = training_from_json(resumed.checkpoint.config, request.options);
        resumed.options.model = resumed.checkpoint.model;
        TrainingOptions recorded = resumed.options;
        if (!has_limit(recorded)) {  // whether the rate decays, and until when, is decided by the new options
            recorded.lr_schedule = LrSchedule::constant;
            recorded.lr_final = 0;
        }
        check(recorded);
    } catch (const InputError& error) {
        throw InputError(fmt::format("{}: attribute config: {}", from.string(), error.what()));
    }
    return resumed;
}

// The newest valid checkpoint of the folder, starting from latest.h5.
std::optional<ResumedRun> newest_whole(const RunFolder& folder, const RunRequest& request) {
    std::error_code ignored;
    std::vector<fs::path> candidates;
    const bool has_latest = is_present(folder.latest());
    if (has_latest) candidates.push_back(folder.latest());
    const std::optional<index_t> linked = RunFolder::step_of(folder.latest());
    for (const RunFolder::Saved& saved : folder.saved())
        if (!linked || saved.step < *linked ||
            (saved.step == *linked && !fs::equivalent(saved.path, folder.latest(), ignored)))
            candidates.push_back(saved.path);  // not checkpoints that the run rolled back from

    std::vector<fs::path> damaged;
    std::string problems;
    for (const fs::path& path : candidates) {
        try {
            ResumedRun found = resumed_run(path, check_checkpoint(path), request);
            found.damaged = damaged;
            if (!has_latest || path != folder.latest())
                request.warn(
                    fmt::format("resuming from {}: {}", path.string(),
                                has_latest ? "the newest valid checkpoint" : "latest.h5 does not exist"));
            return found;
        } catch (const InputError& error) {
            request.warn(fmt::format("{}; looking for an older checkpoint", error.what()));
            problems += fmt::format("; {}", error.what());
            const fs::path file = fs::weakly_canonical(path, ignored);
            if (fs::is_regular_file(file, ignored)) damaged.push_back(file);
        } catch (const Error& error) {
            throw Error(fmt::format(
                "{}; the file may be intact: try again, or give --resume an older checkpoint of the run",
                error.what()));
        }
    }
    if (candidates.empty()) {
        request.info(fmt::format("{}: {}", request.options.out,
                                 fs::exists(folder.config(), ignored)
                                     ? "the run has no checkpoint yet and starts again"
                                     : "no run to resume; starting one"));
        return {};
    }
    throw InputError(
        fmt::format("{}: none of the run's checkpoints is usable{}", folder.latest().string(), problems));
}

}  // namespace

std::optional<ResumedRun> find_run_to_resume(const RunRequest& request, const RunFolder& folder) {
    if (!request.resume && folder.holds_run())
        throw InputError(fmt::format(
            "{}: the folder already contains a run; continue it with --resume, or choose another --out",
            request.options.out));
    if (!request.resume) return {};
    if (request.resume_from.empty()) return newest_whole(folder, request);
    const fs::path from = find_checkpoint(request.resume_from);
    std::error_code ignored;
    // A run without a checkpoint may be the same one, stopped before its first.
    const bool holds_checkpoint = !folder.saved().empty() || fs::exists(folder.latest(), ignored);
    if (fs::exists(from, ignored) && holds_checkpoint && !folder.owns(from))
        throw InputError(fmt::format(
            "--resume {}: not a checkpoint of the run in {}; continue that run with --resume auto, or choose another "
            "--out",
            from.string(), request.options.out));
    return resumed_run(from, read_checkpoint_info(from), request);
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

TrainingProgress ResumedRun::progress(const TrainingOptions& now) const {
    TrainingProgress progress = training_progress(checkpoint);
    if (options.lr != now.lr) {
        progress.history.lr_scale = 1;
        progress.history.rollbacks = 0;
    }
    return progress;
}

bool ResumedRun::is_latest_of(const RunFolder& folder) const {
    std::error_code ignored;
    const index_t step = checkpoint.progress.step;
    return (fs::equivalent(folder.latest(), from, ignored) || RunFolder::step_of(folder.latest()) == step) &&
           fs::equivalent(folder.checkpoint(step), from, ignored);
}

double ResumedRun::epoch_images() const {
    if (options.epoch_images > 0) return options.epoch_images;
    return static_cast<double>(
        training_images(checkpoint.config.value("data_set", nlohmann::ordered_json())));
}

index_t ResumedRun::processes_per_host() const {
    const auto recorded = checkpoint.config.value("processes_per_host", nlohmann::ordered_json());
    return recorded.is_number_integer() ? recorded.get<index_t>() : 0;
}

TrainingOptions ResumedRun::options_for(const ProcessGroup& group) const {
    TrainingOptions reused = options;
    const index_t recorded = processes_per_host();
    if (recorded > 0 && recorded != group.local_size) {
        reused.threads = 0;
        reused.act_budget = 0;
    }
    return reused;
}

std::string model_differences(const ModelConfig& found, const ModelConfig& expected) {
    const nlohmann::ordered_json is = to_json(found), wanted = to_json(expected);
    std::vector<std::string> differences;
    for (const auto& [key, value] : wanted.items())
        if (is[key] != value)
            differences.push_back(fmt::format("{} is {}, expected {}", key, is[key].dump(), value.dump()));
    return fmt::format("{}", fmt::join(differences, "; "));
}

void compare_options(const ResumedRun& resumed, const TrainingOptions& options,
                     const std::function<void(const std::string&)>& info) {
    std::string refused;
    std::vector<std::string> changes;
    const nlohmann::ordered_json model = to_json(options.model),
                                 model_before = to_json(resumed.checkpoint.model);
    for (const auto& [key, value] : model.items()) {
        const nlohmann::ordered_json& was = model_before[key];
        if (was != value) refused += fmt::format("{} is {} but was {}; ", key, value.dump(), was.dump());
    }
    TrainingOptions before = resumed.options;
    if (before.threads == 0) before.threads = options.threads;  // not recorded
    const nlohmann::ordered_json now = to_json(options)["training"], then = to_json(before)["training"];
    visit_training_options(options, [&](const char* name, const auto&, OnResume on_resume, const char*) {
        const nlohmann::ordered_json &was = then[name], &is = now[name];
        if (on_resume == OnResume::free || was == is) return;
        if (std::string_view(name) == "data" &&
            absolute_name(resumed.options.data) == absolute_name(options.data))
            return;
        const std::string change = fmt::format("{} is {} but was {}", name, is.dump(), was.dump());
        // --max-memory chooses micro-batches by the memory and the processes of this part.
        const bool chosen = std::string_view(name) == "micro-batch" &&
                            (options.max_memory > 0 || resumed.options.max_memory > 0);
        if (on_resume == OnResume::fixed && !chosen)
            refused += change + "; ";
        else
            changes.push_back(change);
    });
    if (!refused.empty())
        throw InputError(fmt::format(
            "the run cannot be resumed with different settings: {}use the checkpoint's, or start a new run{}",
            refused, options.model == resumed.checkpoint.model ? " with --init-from" : ""));
    for (const std::string& change : changes) info("changed on resume: " + change);
}

void compare_data(const ResumedRun& resumed, const nlohmann::ordered_json& data, const RunRequest& request) {
    const std::string difference =
        data_difference(resumed.checkpoint.config.value("data_set", nlohmann::ordered_json()), data);
    if (difference.empty()) return;
    std::error_code ignored;
    const std::string own = find_data_of_run(resumed.options, RunFolder(request.options.out));
    const bool same_file =
        fs::weakly_canonical(own, ignored) == fs::weakly_canonical(request.options.data, ignored);
    if (same_file && !request.accept_new_data)
        throw InputError(
            fmt::format("{}: the data set has changed since the run began ({}); restore it, or continue "
                        "with --accept-new-data",
                        request.options.data, difference));
    request.warn(fmt::format("{}: differs from the data set that the run began with ({})",
                             request.options.data, difference));
}

}  // namespace glow
