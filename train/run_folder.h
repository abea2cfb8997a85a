// The folder of a run (spec section 3): config.toml, metrics.csv, eval.csv, audit.csv, checkpoints/,
// samples/, and the links latest.h5 and best.h5.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base.h"
#include "data/formats/file_lock.h"

namespace glow {

// A CSV file that grows row by row, each row on disk before the next step. The first column is the step.
class CsvLog {
  public:
    // Rows of steps after `last_step` are dropped: a resumed run repeats them. The rest stays as it is.
    // Rows wait while `lock`, of the run's folder, is not current: another run may be in its place.
    CsvLog(const std::filesystem::path& path, const std::string& header, index_t last_step,
           const std::unique_ptr<FileLock>* lock = nullptr);
    // Error where it cannot be written now (disk full, folder gone): the file then ends with a whole row as
    // before, and this row is written before the next one. A file that is gone is begun again.
    void row(const std::string& line);
    // Rows that wait. Error as above.
    void flush();
    // Drops the rows of steps after `last_step`, also those that wait.
    void drop_after(index_t last_step);

  private:
    std::filesystem::path path_;
    std::string header_, waiting_;
    const std::unique_ptr<FileLock>* lock_;
};

// A name that means the same file from every folder, for config.toml and checkpoints. The name as it is where
// there is none, or none in UTF-8.
std::string absolute_name(const std::string& name);

class RunFolder {
  public:
    explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

    const std::filesystem::path& path() const { return path_; }

    // Is there anything of a run in it?
    bool holds_run() const;
    // Makes the folder. InputError where that is not allowed.
    void make() const;
    // Makes it and the folders in it, and removes temporary files of a process that was killed. InputError
    // where that is not allowed.
    void create() const;
    void write_config(const std::string& toml) const;

    std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
    std::filesystem::path evaluations() const { return path_ / "eval.csv"; }
    std::filesystem::path audits() const { return path_ / "audit.csv"; }
    std::filesystem::path config() const { return path_ / "config.toml"; }
    // Held by the process that trains (data/file_lock.h).
    std::filesystem::path lock() const { return path_ / "run.lock"; }
    std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
    std::filesystem::path latest() const { return path_ / "latest.h5"; }
    std::filesystem::path best() const { return path_ / "best.h5"; }
    std::filesystem::path checkpoint(index_t step) const;
    std::filesystem::path samples(index_t step) const;
    // Of a step gone wrong: trouble/step-00000012-1.json.
    std::filesystem::path report(index_t step, index_t number) const;
    void write_report(const std::filesystem::path& file, const std::string& text) const;

    // latest.h5 or best.h5 -> the checkpoint of a step.
    void link(const std::filesystem::path& link, index_t step) const;
    // Of the checkpoints up to a step, removes all but the newest `keep` and those that latest and best point
    // to. Later ones, of a run that was sent back by hand, are left alone.
    void prune(int keep, index_t step) const;

    // The checkpoints step-*.h5, the newest first.
    struct Saved {
        index_t step;
        std::filesystem::path path;
    };
    std::vector<Saved> saved() const;
    // The step that a link stands for, by its name; nothing where it is no link to a step-*.h5.
    static std::optional<index_t> step_of(const std::filesystem::path& link);
    // Renames a file that cannot be read to NAME.damaged; the new name.
    std::filesystem::path set_aside(const std::filesystem::path& file) const;
    // The run goes on from a step: latest.h5 links to it, later checkpoints are removed, and best.h5 where it
    // is one of them.
    void go_back_to(index_t step) const;

  private:
    std::filesystem::path path_;
};

}  // namespace glow
