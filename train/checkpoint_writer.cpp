#include "train/checkpoint_writer.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/error.h"

namespace glow {

namespace fs = std::filesystem;

void CheckpointWriter::lock_folder() {
    if (lock_ && lock_->is_current()) return;
    const bool is_first_time = !lock_;
    const std::string& out = request_.options.out;
    lock_ = std::make_unique<FileLock>(folder_.lock(), out, "choose another --out");
    if (is_first_time && !lock_->problem().empty())
        request_.warn(
            fmt::format("{}: its file system does not support locks ({}); another process could "
                        "train in this folder at the same time",
                        out, lock_->problem()));
}

void CheckpointWriter::open_folder() {
    if (!lock_) {
        folder_.make();
        lock_folder();
        if (folder_.holds_run())
            throw InputError(fmt::format(
                "{}: another process started a run in the folder; {}, or choose another --out",
                request_.options.out,
                request_.resume ? "give the command again to continue it" : "continue it with --resume"));
    }
    folder_.prepare();
}

void CheckpointWriter::take_over(ResumedRun& resumed) {
    for (const fs::path& file : resumed.damaged)
        request_.warn(fmt::format("renamed to {}", folder_.set_aside(file).string()));
    std::error_code ignored;
    // If the folder was copied without links, latest.h5 is a file. Rename it to a checkpoint like the
    // others before a link replaces it.
    const index_t step = resumed.checkpoint.progress.step;
    const fs::path checkpoint = folder_.checkpoint(step);
    if (!fs::is_symlink(folder_.latest(), ignored) &&
        fs::equivalent(folder_.latest(), resumed.from, ignored) &&
        !fs::equivalent(folder_.latest(), checkpoint, ignored)) {
        fs::rename(folder_.latest(), checkpoint, ignored);
        if (!ignored) resumed.from = checkpoint;
    }
    if (fs::equivalent(checkpoint, resumed.from, ignored) ||
        (folder_.owns(resumed.from) && fs::exists(checkpoint, ignored)))  // best.h5 may be a copy
        link(folder_.latest(), step);
}

void CheckpointWriter::write(const CheckpointContents& contents, const std::string& config,
                             const std::function<void()>& sync_logs) {
    folder_.make();
    lock_folder();
    if (!folder_.holds_run()) {
        request_.warn(
            fmt::format("{}: the run's folder was deleted and has been recreated", request_.options.out));
        folder_.prepare();
        folder_.write_config(config);
    }
    folder_.prepare();
    const TrainingProgress& progress = contents.progress;
    save_checkpoint(folder_.checkpoint(progress.step), contents.config, progress, to_json(progress),
                    contents.parameters, contents.exec, contents.weights);
    sync_logs();  // a resumed run does not repeat rows before latest.h5
    link(folder_.latest(), progress.step);
}

void CheckpointWriter::link(const fs::path& name, index_t step) {
    const LinkKind kind = folder_.link(name, step);
    if (kind == LinkKind::symbolic || std::exchange(reported_links_, true)) return;
    request_.warn(fmt::format(
        "{}: its file system does not support symbolic links; latest.h5 and best.h5 are {} checkpoints",
        request_.options.out, kind == LinkKind::hard ? "hard links to" : "copies of"));
}

void CheckpointWriter::relink_best(std::optional<index_t> step) {
    std::error_code ignored;
    if (step)
        link(folder_.best(), *step);
    else
        fs::remove(folder_.best(), ignored);
}

}  // namespace glow
