#include "train/run.h"

#include "train/loop.h"

namespace glow {

nlohmann::ordered_json to_json(const RunResult& result) {
    nlohmann::ordered_json json = {
        {"ended", to_string(result.ended)}, {"step", result.progress.step},
        {"epoch", result.progress.epoch},   {"images_seen", result.progress.images_seen},
        {"bpd", result.bits_per_dim},       {"planned_bytes", result.planned_bytes},
        {"peak_bytes", result.peak_bytes},  {"process_growth_bytes", result.process_growth_bytes},
        {"checkpoint", result.checkpoint},  {"rollbacks", result.rollbacks},
        {"lr_scale", result.lr_scale}};
    if (!result.valid_ema) return json;
    const auto error = [](const Mean& mean) {
        return mean.error() ? nlohmann::ordered_json(*mean.error()) : nlohmann::ordered_json();
    };
    json["valid_bpd_ema"] = result.valid_ema->value;
    json["valid_bpd_raw"] = result.valid_raw->value;
    json["valid_stderr_ema"] = error(*result.valid_ema);
    json["valid_stderr_raw"] = error(*result.valid_raw);
    json["valid_images"] = result.valid_ema->count;
    json["valid_step"] = result.valid_step;
    return json;
}

RunResult run_training(const RunRequest& request, const RunHooks& hooks) {
    Session session(request, Session::Mode::train);
    return TrainingLoop(session, hooks).run();
}

}  // namespace glow
