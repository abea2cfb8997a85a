// Resuming.
#include "train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <vector>

#include "kernels/error.h"

namespace glow {

namespace fs = std::filesystem;

std::optional<ResumedRun> find_run_to_resume(const RunRequest& request, const RunFolder& folder) {
    std::error_code ignored;
    fs::path checkpoint = request.resume_from;
    if (request.resume && checkpoint.empty() && fs::exists(folder.latest(), ignored))
        checkpoint = folder.latest();
    if (!request.resume && folder.holds_run())
        throw InputError(fmt::format(
            "{}: the folder holds a run; go on with --resume, or choose another --out", request.options.out));
    if (!request.resume || checkpoint.empty()) return {};
    const fs::path from = find_checkpoint(checkpoint);
    return ResumedRun{from, read_checkpoint_info(from)};
}

int threads_of(const CheckpointInfo& checkpoint) {
    const nlohmann::ordered_json training =
        checkpoint.config.value("training", nlohmann::ordered_json::object());
    if (!training.contains("threads") || !training["threads"].is_number_integer()) return 0;
    const std::int64_t threads = training["threads"];
    return threads > 0 && threads <= 4096 ? static_cast<int>(threads) : 0;
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
