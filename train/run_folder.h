// The folder of a run (docs/formats.md): config.toml, metrics.csv, eval.csv, audit.csv, checkpoints/,
// samples/, and the links latest.h5 and best.h5.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/formats/file_lock.h"
#include "kernels/base.h"

namespace glow {

// A CSV file that grows by rows, each given to the system before the next step. The first column is the step.
class CsvLog {
  public:
    // Drops rows after `last_step`, which a resumed run repeats. Rows are held back while `lock`, on the
    // run's folder, is not current: another run may have replaced it.
    CsvLog(const std::filesystem::path& path, const std::string& header, index_t last_step,
           const std::unique_ptr<FileLock>* lock = nullptr);
    // Throws Error if the file cannot be written now (disk full, folder gone). The file then still ends with
    // a complete row, and this row is written before the next one. A deleted file is started again.
    void row(const std::string& line);
    // Writes rows held back. Throws Error as above.
    void flush();
    // Also waits until all rows are on the disk, so that they survive a crash of the machine. Throws Error as
    // above, or if the disk reports an error.
    void sync();
    // Drops rows after `last_step`, including those held back. Throws Error if the file cannot be written now;
    // its rows are then dropped before the next one is written.
    void drop_after(index_t last_step);

  private:
    void drop_rows();

    std::filesystem::path path_;
    std::string header_, waiting_;
    std::optional<index_t> cut_after_;  // step after which rows of the file are still to be dropped
    const std::unique_ptr<FileLock>* lock_;
};

// An absolute name for config.toml and checkpoints. Returns the name unchanged if there is none in UTF-8.
std::string absolute_name(const std::string& name);

// How a link to a checkpoint was made: on file systems without symbolic links as a hard link, or else as a
// copy.
enum class LinkKind { symbolic, hard, copy };

class RunFolder {
  public:
    explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

    const std::filesystem::path& path() const { return path_; }

    // Whether the folder contains files of a run.
    bool holds_run() const;
    // Whether a file is one of the run's checkpoints, or a link to one.
    bool owns(const std::filesystem::path& checkpoint) const;
    // Creates the folder. Throws InputError if that fails.
    void make() const;
    // Creates the folder and its subfolders, and removes temporary files of killed processes. Throws
    // InputError if that fails.
    void prepare() const;
    void write_config(const std::string& toml) const;

    std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
    std::filesystem::path evaluations() const { return path_ / "eval.csv"; }
    std::filesystem::path audits() const { return path_ / "audit.csv"; }
    std::filesystem::path config() const { return path_ / "config.toml"; }
    // Locked by the process that trains (data/formats/file_lock.h).
    std::filesystem::path lock() const { return path_ / "run.lock"; }
    std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
    std::filesystem::path latest() const { return path_ / "latest.h5"; }
    std::filesystem::path best() const { return path_ / "best.h5"; }
    std::filesystem::path checkpoint(index_t step) const;
    std::filesystem::path samples(index_t step) const;
    // Report of a failed step: trouble/step-00000012-1.json.
    std::filesystem::path report(index_t step, index_t number) const;
    void write_report(const std::filesystem::path& file, const std::string& text) const;

    // Links latest.h5 or best.h5 to the checkpoint of a step. The link is on disk when this returns.
    LinkKind link(const std::filesystem::path& link, index_t step) const;
    // After saving at `step`, removes all earlier checkpoints except the newest `keep`, those that latest.h5
    // and best.h5 point to, and that of step `also`. previous: the step that the run saved before, or began
    // at. If the user rolled the run back by hand, older checkpoints may exist after `previous`: those up to
    // `step` are removed too, later ones stay until the run passes them.
    void prune(int keep, index_t previous, index_t step, std::optional<index_t> also = {}) const;

    // The checkpoints step-*.h5, newest first.
    struct Saved {
        index_t step;
        std::filesystem::path path;
    };
    std::vector<Saved> saved() const;
    // The step of latest.h5 or best.h5: by the name that a symbolic link points to, or of the checkpoint that
    // it is. Empty if there is none.
    static std::optional<index_t> step_of(const std::filesystem::path& link);
    // Renames an unreadable file to NAME.damaged; returns the new name.
    std::filesystem::path set_aside(const std::filesystem::path& file) const;
    // Continues the run from a step: latest.h5 points to it; removes later checkpoints, and best.h5 if it
    // points to one of them.
    void roll_back_to(index_t step) const;

  private:
    std::filesystem::path path_;
};

// Throws InputError if `target`, which the output or its link names, is a file of a run. name: the option,
// for the message.
void refuse_file_of_run(const std::string& name, const std::filesystem::path& output,
                        const std::filesystem::path& target);

}  // namespace glow
