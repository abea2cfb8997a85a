// The folder of a run (spec section 3): config.toml, metrics.csv, eval.csv, checkpoints/,
// samples/, and the links latest.h5 and best.h5.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

// A CSV file that grows row by row, each row on disk before the next step. The first column is the step.
class CsvLog {
  public:
    // Rows of steps after `last_step` are dropped: a resumed run repeats them. The rest stays as it is.
    CsvLog(const std::filesystem::path& path, const std::string& header, index_t last_step);
    void row(const std::string& line);  // Error where the disk is full

  private:
    std::filesystem::path path_;
    std::ofstream file_;
};

class RunFolder {
  public:
    explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

    // Is there anything of a run in it?
    bool holds_run() const;
    // Makes the folders, and removes temporary files of a process that was killed. InputError where that is
    // not allowed.
    void create() const;
    void write_config(const std::string& toml) const;

    std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
    std::filesystem::path evaluations() const { return path_ / "eval.csv"; }
    std::filesystem::path config() const { return path_ / "config.toml"; }
    std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
    std::filesystem::path latest() const { return path_ / "latest.h5"; }
    std::filesystem::path best() const { return path_ / "best.h5"; }
    std::filesystem::path checkpoint(index_t step) const;
    std::filesystem::path samples(index_t step) const;

    // latest.h5 or best.h5 -> the checkpoint of a step.
    void link(const std::filesystem::path& link, index_t step) const;
    // Removes all but the newest `keep` checkpoints and those that latest and best point to.
    void prune(int keep) const;

  private:
    std::filesystem::path path_;
};

}  // namespace glow
