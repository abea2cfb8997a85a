// Files of a run.
#include "train/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/error.h"
#include "train/data/atomic_file.h"

namespace glow {

namespace fs = std::filesystem;

CsvLog::CsvLog(const fs::path& path, const std::string& header, index_t last_step) : path_(path) {
    std::string kept = header + "\n";
    if (std::ifstream old(path); old) {
        std::string line;
        std::getline(old, line);
        const bool cut = old.eof() && header.rfind(line, 0) == 0;
        if (line != header && !cut)
            throw InputError(fmt::format("{}: its first line is not \"{}\": written by another program?",
                                         path.string(), header));
        while (std::getline(old, line)) {
            if (old.eof()) break;  // a row without its end of line was cut by a crash
            if (std::strtoll(line.c_str(), nullptr, 10) <= last_step) kept += line + "\n";
        }
    }
    write_atomically(path, [&](const fs::path& temporary) {
        std::ofstream file(temporary, std::ios::binary);
        file << kept << std::flush;
        if (!file) throw Error(fmt::format("{}: cannot be written (disk full?)", path.string()));
    });
    file_.open(path, std::ios::binary | std::ios::app);
    if (!file_) throw InputError(fmt::format("{}: cannot be written", path.string()));
}

void CsvLog::row(const std::string& line) {
    file_ << line + "\n" << std::flush;
    if (!file_) throw Error(fmt::format("{}: cannot be written (disk full?)", path_.string()));
}

bool RunFolder::holds_run() const {
    std::error_code ignored;
    return fs::exists(metrics(), ignored) || fs::exists(config(), ignored) ||
           fs::exists(checkpoints(), ignored);
}

void RunFolder::create() const {
    std::error_code failed;
    for (const fs::path& folder : {path_, checkpoints(), path_ / "samples"}) {
        fs::create_directories(folder, failed);
        if (failed)
            throw InputError(
                fmt::format("{}: the folder cannot be made: {}", folder.string(), failed.message()));
        // What a killed process was writing (atomic_file.h), perhaps gigabytes.
        for (const auto& entry : fs::directory_iterator(folder, failed))
            if (const std::string name = entry.path().filename().string();
                name.rfind(".glow-", 0) == 0 && entry.path().extension() == ".tmp")
                fs::remove(entry.path(), failed);
    }
}

void RunFolder::write_config(const std::string& toml) const {
    write_atomically(config(), [&](const fs::path& temporary) {
        std::ofstream file(temporary, std::ios::binary);
        file << toml << std::flush;
        if (!file) throw Error(fmt::format("{}: cannot be written (disk full?)", config().string()));
    });
}

fs::path RunFolder::checkpoint(index_t step) const {
    return checkpoints() / fmt::format("step-{:08d}.h5", step);
}
fs::path RunFolder::samples(index_t step) const {
    return path_ / "samples" / fmt::format("step-{:08d}.png", step);
}

void RunFolder::link(const fs::path& link, index_t step) const {
    // A new link beside the old one, then a rename: there is always one.
    const fs::path temporary = link.string() + ".new";
    std::error_code failed;
    fs::remove(temporary, failed);
    fs::create_symlink(checkpoint(step).lexically_relative(path_), temporary, failed);
    if (!failed) fs::rename(temporary, link, failed);
    if (failed) throw Error(fmt::format("{}: the link cannot be made: {}", link.string(), failed.message()));
}

void RunFolder::prune(int keep) const {
    std::error_code ignored;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(checkpoints(), ignored)) {
        const std::string name = entry.path().filename().string();
        if (!entry.is_symlink() && name.rfind("step-", 0) == 0 && entry.path().extension() == ".h5")
            files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
        // By number: more than eight digits are possible.
        const std::string &x = a.native(), &y = b.native();
        return x.size() != y.size() ? x.size() < y.size() : x < y;
    });
    const fs::path linked[] = {fs::read_symlink(latest(), ignored).filename(),
                               fs::read_symlink(best(), ignored).filename()};
    for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < files.size(); ++i)
        if (files[i].filename() != linked[0] && files[i].filename() != linked[1])
            fs::remove(files[i], ignored);
}

}  // namespace glow
