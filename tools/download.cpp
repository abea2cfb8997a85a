// The programs are started directly, never through a shell.
#include "tools/download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/error.h"

extern char** environ;

namespace glow {
namespace {

constexpr const char* kUrl = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
constexpr const char* kMd5 = "c32a1d4ab5d03f1284b67883e8d87530";  // as published on the same site
constexpr const char* kFolderInArchive = "cifar-10-batches-bin/";
constexpr const char* kFiles[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                  "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

constexpr int kNotFound = -1;

// Runs a program found in PATH and waits: its exit code, 128 + signal, or kNotFound. Its output goes to
// stderr, or into `output`.
int run_program(const std::vector<std::string>& words, std::string* output = nullptr) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    int ends[2] = {-1, -1};
    if (output != nullptr && pipe2(ends, O_CLOEXEC) != 0)
        throw Error(fmt::format("cannot run {}: {}", words[0], std::strerror(errno)));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output != nullptr ? ends[1] : STDERR_FILENO, STDOUT_FILENO);
    pid_t child = 0;
    const int failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (output != nullptr) {
        close(ends[1]);
        char buffer[4096];
        ssize_t count = 0;
        while (failed == 0 &&
               ((count = read(ends[0], buffer, sizeof buffer)) > 0 || (count < 0 && errno == EINTR)))
            if (count > 0) output->append(buffer, static_cast<std::size_t>(count));
        close(ends[0]);
    }
    if (failed == ENOENT) return kNotFound;
    if (failed != 0) throw Error(fmt::format("cannot run {}: {}", words[0], std::strerror(failed)));
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            throw Error(fmt::format("cannot wait for {}: {}", words[0], std::strerror(errno)));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void fetch(const std::filesystem::path& archive, bool quiet) {
    const char* program = "curl";
    int code = run_program({"curl", "--fail", "--location", "--retry", "3", "--connect-timeout", "20",
                            quiet ? "--silent" : "--progress-bar", "--show-error", "--output",
                            archive.string(), kUrl});
    if (code == kNotFound) {
        program = "wget";
        code = run_program({"wget", quiet ? "--no-verbose" : "--progress=bar", "--timeout=20", "--tries=3",
                            "--output-document=" + archive.string(), kUrl});
    }
    if (code == kNotFound)
        throw Error(fmt::format(
            "--download needs curl or wget, and found neither: fetch {} by hand, unpack it and run "
            "again without --download",
            kUrl));
    if (code != 0)
        throw Error(fmt::format(
            "cannot download {} ({} ended with code {}; is there a network?): fetch it elsewhere, "
            "unpack it and run again without --download",
            kUrl, program, code));
}

void verify(const std::filesystem::path& archive) {
    std::string sum;
    const int code = run_program({"md5sum", archive.string()}, &sum);
    if (code != 0) throw Error("cannot verify the downloaded archive: md5sum does not run");
    // A file name with odd characters puts a backslash before the sum.
    if (sum.starts_with('\\')) sum.erase(0, 1);
    if (!sum.starts_with(kMd5))
        throw Error(fmt::format(
            "the archive downloaded from {} is not the official one: expected MD5 {}, found {:.32}", kUrl,
            kMd5, sum));
}

}  // namespace

void download_cifar10(const std::filesystem::path& folder, bool quiet) {
    std::error_code code;
    bool complete = true;
    for (const char* name : kFiles) complete = complete && std::filesystem::exists(folder / name, code);
    if (complete) return;

    const bool made = std::filesystem::create_directories(folder, code);
    if (code) throw InputError(fmt::format("cannot make folder {}: {}", folder.string(), code.message()));
    // An absolute name, so that one beginning with '-' is not taken for an option.
    const auto work = std::filesystem::absolute(folder) / fmt::format(".glow-download-{}", getpid());
    std::filesystem::create_directory(work, code);
    if (code) throw InputError(fmt::format("cannot write to folder {}: {}", folder.string(), code.message()));
    try {
        const auto archive = work / "archive.tar.gz";
        fetch(archive, quiet);
        verify(archive);
        std::vector<std::string> words = {"tar", "-xzf",        archive.string(),
                                          "-C",  work.string(), "--no-same-owner"};
        for (const char* name : kFiles) words.push_back(std::string(kFolderInArchive) + name);
        const int unpacked = run_program(words);
        if (unpacked == kNotFound) throw Error("--download needs tar to unpack the archive, and found none");
        if (unpacked != 0)
            throw Error(
                fmt::format("cannot unpack the downloaded archive (tar ended with code {})", unpacked));
        for (const char* name : kFiles)
            std::filesystem::rename(work / kFolderInArchive / name, folder / name);
    } catch (...) {
        std::filesystem::remove_all(work, code);
        if (made) std::filesystem::remove(folder, code);
        throw;
    }
    std::filesystem::remove_all(work, code);
}

}  // namespace glow
