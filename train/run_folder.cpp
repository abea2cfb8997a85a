#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "data/formats/atomic_file.h"
#include "data/formats/input_path.h"
#include "inference/model_file.h"
#include "kernels/error.h"
#include "runtime/watchdog.h"
#include "train/toml_text.h"

namespace glow {

namespace fs = std::filesystem;

namespace {

bool is_checkpoint(const fs::path& file) {
    std::error_code ignored;
    if (!fs::is_regular_file(file, ignored)) return false;
    try {
        read_checkpoint_info(file);
        return true;
    } catch (const InputError&) {
        return false;
    }
}

// The folder of the run that writes `file`; empty if there is none.
fs::path run_that_owns(const fs::path& file) {
    std::error_code ignored;
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    const auto holds_run = [&](const RunFolder& run) {
        return fs::is_directory(run.checkpoints(), ignored) &&
               (fs::exists(run.config(), ignored) || fs::exists(run.metrics(), ignored) ||
                fs::is_symlink(run.latest(), ignored));
    };
    const RunFolder run(folder);
    const std::string name = file.filename().string();
    if (holds_run(run))
        for (const fs::path& own : {run.latest(), run.best(), run.config(), run.metrics(), run.evaluations(),
                                    run.audits(), run.lock()})
            if (name == own.filename()) return folder;
    // A folder with only copied checkpoints.
    if ((name == run.latest().filename() || name == run.best().filename()) && is_checkpoint(file))
        return folder;
    const fs::path around = folder / "..";
    const RunFolder outer(around);
    if (holds_run(outer) && file_id(outer.checkpoints()) == file_id(folder)) return around.lexically_normal();
    return {};
}

// "step-00000123.h5" -> 123
std::optional<index_t> step_of_name(const std::string& name) {
    long long step = 0;
    int length = 0;
    if (std::sscanf(name.c_str(), "step-%18lld.h5%n", &step, &length) != 1 ||
        static_cast<std::size_t>(length) != name.size() || step < 0)
        return {};
    return step;
}

index_t step_of_row(const std::string& row) {
    return std::strtoll(row.c_str(), nullptr, 10);
}

void write_text(const fs::path& path, const std::string& text) {
    const ScopedTimeout timeout("writing the run's files");
    write_atomically(path, [&](const fs::path& temporary) {
        std::ofstream file(temporary, std::ios::binary);
        file << text;
        close_written(file, path);
    });
}

// Descriptor of a file, closed on destruction.
struct OpenFile {
    explicit OpenFile(int descriptor) : descriptor(descriptor) {}
    ~OpenFile() {
        if (descriptor >= 0) ::close(descriptor);
    }
    OpenFile(const OpenFile&) = delete;
    // Returns false, with errno, if the file system reports an error.
    bool close() { return ::close(std::exchange(descriptor, -1)) == 0; }
    int descriptor;
};

void make_folder(const fs::path& folder) {
    const ScopedTimeout timeout("writing the run's files");
    std::error_code failed;
    fs::create_directories(folder, failed);
    if (failed)
        throw InputError(fmt::format("{}: cannot create the folder: {}", folder.string(), failed.message()));
}

// Whether an error means that the file system does not have links.
bool means_unsupported(const std::error_code& error) {
    return error == std::errc::operation_not_permitted || error == std::errc::operation_not_supported ||
           error == std::errc::not_supported || error == std::errc::function_not_supported;
}

// Appends text completely or not at all; returns false, with errno, on failure.
bool append(const fs::path& path, const std::string& text) {
    const ScopedTimeout timeout("writing the run's files");
    OpenFile file(open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (file.descriptor < 0) return false;
    const off_t before = lseek(file.descriptor, 0, SEEK_END);
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t written = write(file.descriptor, text.data() + done, text.size() - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            const int code = errno;
            (void)!ftruncate(file.descriptor, before);
            errno = code;
            return false;
        }
        done += static_cast<std::size_t>(written);
    }
    if (file.close()) return true;
    // A full disk behind NFS shows only now. The text may be lost, or written in part.
    const int code = errno;
    (void)!truncate(path.c_str(), before);
    errno = code;
    return false;
}

}  // namespace

CsvLog::CsvLog(const fs::path& path, const std::string& header, index_t last_step,
               const std::unique_ptr<FileLock>* lock)
    : path_(path), header_(header), lock_(lock) {
    drop_after(last_step);
}

void CsvLog::drop_after(index_t last_step) {
    std::istringstream waiting(std::exchange(waiting_, ""));
    for (std::string line; std::getline(waiting, line);)
        if (step_of_row(line) <= last_step) waiting_ += line + "\n";
    cut_after_ = std::min(last_step, cut_after_.value_or(last_step));
    drop_rows();
}

void CsvLog::drop_rows() {
    if (!cut_after_) return;
    std::string kept = header_ + "\n";
    if (is_present(path_)) {
        std::istringstream old(read_file(path_));
        std::string line;
        std::getline(old, line);
        const bool cut = old.eof() && header_.rfind(line, 0) == 0;
        if (line != header_ && !cut)
            throw InputError(fmt::format("{}: its first line is not \"{}\": it was not written by Glow",
                                         path_.string(), header_));
        while (std::getline(old, line) && !old.eof())  // a row without a line ending was truncated by a crash
            if (step_of_row(line) <= *cut_after_) kept += line + "\n";
    }
    write_text(path_, kept);
    cut_after_.reset();
}

void CsvLog::row(const std::string& line) {
    waiting_ += line + "\n";
    flush();
}

void CsvLog::flush() {
    if (waiting_.empty() && !cut_after_) return;
    if (lock_ != nullptr && *lock_ && !(*lock_)->is_current())
        throw Error(
            fmt::format("{}: its folder was moved, deleted or replaced; rows are held back", path_.string()));
    drop_rows();
    if (waiting_.empty()) return;
    bool written = append(path_, waiting_);
    if (!written && errno == ENOENT) {  // the file is gone, but its folder may exist (again)
        const OpenFile made(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        written = made.descriptor >= 0 && append(path_, header_ + "\n" + waiting_);
        if (!written && made.descriptor >= 0) {
            const int code = errno;
            unlink(path_.c_str());
            errno = code;
        }
    }
    if (!written)
        throw Error(fmt::format("{}: cannot be written: {}; rows are held back", path_.string(),
                                std::strerror(errno)));
    waiting_.clear();
}

void CsvLog::sync() {
    flush();
    const ScopedTimeout timeout("writing the run's files");
    const OpenFile file(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.descriptor < 0 && errno == ENOENT) return;  // deleted; the next row starts it again
    // File systems without sync support return EINVAL or EROFS.
    if (file.descriptor < 0 || (fdatasync(file.descriptor) != 0 && errno != EINVAL && errno != EROFS))
        throw Error(fmt::format("{}: cannot be written to disk: {}; its last rows may be lost",
                                path_.string(), std::strerror(errno)));
}

std::string absolute_name(const std::string& name) {
    std::error_code failed;
    fs::path path = name.empty() ? fs::path() : fs::absolute(name, failed);
    if (name.empty() || failed) return name;
    // The parent of a symbolic link is only known to the file system, so resolve ".." there.
    if (std::find(path.begin(), path.end(), "..") != path.end()) {
        const fs::path resolved = fs::weakly_canonical(path, failed);
        if (!failed) path = resolved;
    } else {
        path = path.lexically_normal();
    }
    if (!path.has_filename()) path = path.parent_path();
    const std::string text = path.string();
    return valid_utf8(text) == text.size() ? text : name;
}

bool RunFolder::holds_run() const {
    std::error_code ignored;
    return fs::exists(metrics(), ignored) || fs::exists(config(), ignored) ||
           fs::exists(checkpoints(), ignored);
}

bool RunFolder::owns(const fs::path& checkpoint) const {
    std::error_code ignored;
    return fs::equivalent(fs::weakly_canonical(checkpoint, ignored).parent_path(), checkpoints(), ignored) ||
           fs::equivalent(checkpoint, latest(), ignored) || fs::equivalent(checkpoint, best(), ignored);
}

void RunFolder::make() const {
    make_folder(path_);
}

void RunFolder::prepare() const {
    const ScopedTimeout timeout("writing the run's files");
    for (const fs::path& folder : {path_, checkpoints(), path_ / "samples"}) {
        make_folder(folder);
        remove_abandoned_files_of_own_folder(folder);
    }
    remove_abandoned_files_of_own_folder(path_ / "trouble");  // which a run without failures does not have
}

void RunFolder::write_config(const std::string& toml) const {
    write_text(config(), toml);
}

fs::path RunFolder::checkpoint(index_t step) const {
    return checkpoints() / fmt::format("step-{:08d}.h5", step);
}
fs::path RunFolder::samples(index_t step) const {
    return path_ / "samples" / fmt::format("step-{:08d}.png", step);
}

fs::path RunFolder::report(index_t step, index_t number) const {
    return path_ / "trouble" / fmt::format("step-{:08d}-{}.json", step, number);
}

void RunFolder::write_report(const fs::path& file, const std::string& text) const {
    std::error_code failed;
    fs::create_directories(file.parent_path(), failed);
    write_text(file, text);
}

LinkKind RunFolder::link(const fs::path& link, index_t step) const {
    const ScopedTimeout timeout("writing the run's files");
    // Create a new link and rename it, so that one always exists.
    const fs::path temporary = link.string() + ".new", target = checkpoint(step);
    LinkKind kind = LinkKind::symbolic;
    std::error_code failed;
    fs::remove(temporary, failed);
    fs::create_symlink(target.lexically_relative(path_), temporary, failed);
    if (means_unsupported(failed)) {
        kind = LinkKind::hard;
        fs::create_hard_link(target, temporary, failed);
        if (failed) {
            kind = LinkKind::copy;
            write_atomically(temporary, [&](const fs::path& file) {
                fs::copy_file(target, file, fs::copy_options::overwrite_existing, failed);
            });
        }
    }
    if (!failed) fs::rename(temporary, link, failed);
    if (failed) throw Error(fmt::format("{}: cannot create the link: {}", link.string(), failed.message()));
    if (kind == LinkKind::hard) fs::remove(temporary, failed);  // renaming does nothing if both are one file
    sync_folder_of(link);
    return kind;
}

std::vector<RunFolder::Saved> RunFolder::saved() const {
    std::error_code failed, ignored;
    std::vector<Saved> found;
    fs::directory_iterator entry(checkpoints(), failed);
    if (failed == std::errc::no_such_file_or_directory) return found;  // a new run
    for (; !failed && entry != fs::directory_iterator(); entry.increment(failed))
        if (const auto step = step_of_name(entry->path().filename().string());
            step && !entry->is_symlink(ignored))
            found.push_back({*step, entry->path()});
    if (failed)
        throw Error(fmt::format("{}: cannot list the folder: {}", checkpoints().string(), failed.message()));
    std::sort(found.begin(), found.end(), [](const Saved& a, const Saved& b) { return a.step > b.step; });
    return found;
}

namespace {

struct LinkTarget {
    std::optional<index_t> step = {};
    bool known = true;  // false: the file system failed
};

LinkTarget read_link(const fs::path& link) {
    std::error_code failed, ignored;
    const fs::file_type type = fs::symlink_status(link, failed).type();
    if (type == fs::file_type::symlink) {
        const fs::path target = fs::read_symlink(link, failed);
        return {step_of_name(target.filename().string()), !failed};
    }
    if (type != fs::file_type::regular) return {{}, type != fs::file_type::none};
    for (const RunFolder::Saved& saved : RunFolder(link.parent_path()).saved())
        if (fs::equivalent(saved.path, link, ignored)) return {saved.step};
    try {
        return {read_checkpoint_info(link).progress.step};
    } catch (const InputError&) {
        return {};
    } catch (const Error&) {
        return {{}, false};
    }
}

}  // namespace

std::optional<index_t> RunFolder::step_of(const fs::path& link) {
    return read_link(link).step;
}

void RunFolder::prune(int keep, index_t previous, index_t step, std::optional<index_t> also) const {
    std::error_code ignored;
    const LinkTarget newest = read_link(latest()), of_best = read_link(best());
    if (!newest.known || !of_best.known) return;  // tried again at the next checkpoint
    for (const Saved& one : saved()) {
        if (one.step > step) continue;
        const bool own = one.step <= previous || one.step == step;
        if ((own && --keep >= 0) || one.step == newest.step || one.step == of_best.step || one.step == also)
            continue;
        fs::remove(one.path, ignored);
    }
}

fs::path RunFolder::set_aside(const fs::path& file) const {
    const fs::path aside = file.string() + ".damaged";
    std::error_code failed;
    fs::rename(file, aside, failed);
    if (failed) throw Error(fmt::format("{}: cannot be renamed: {}", file.string(), failed.message()));
    return aside;
}

void RunFolder::roll_back_to(index_t step) const {
    const ScopedTimeout timeout("writing the run's files");
    std::error_code ignored;
    if (fs::exists(checkpoint(step), ignored)) {
        if (step_of(latest()) != step) link(latest(), step);
    } else if (fs::is_symlink(latest(), ignored) || step_of(latest()) > step) {
        fs::remove(latest(), ignored);  // back to the beginning
    }
    if (const auto best_step = step_of(best()); best_step && *best_step > step) fs::remove(best(), ignored);
    for (const Saved& one : saved())
        if (one.step > step) fs::remove(one.path, ignored);
}

void refuse_file_of_run(const std::string& name, const fs::path& output, const fs::path& target) {
    if (const fs::path run = run_that_owns(target); !run.empty())
        throw InputError(fmt::format("{} {} is the name of a file of the run in {}; choose another name",
                                     name, output.string(), run.string()));
}

}  // namespace glow
