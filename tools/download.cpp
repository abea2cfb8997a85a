#include "tools/download.h"

#include <fmt/format.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "kernels/error.h"
#include "tools/run_program.h"

namespace glow {
namespace {

constexpr const char* kUrl = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
constexpr const char* kMd5 = "c32a1d4ab5d03f1284b67883e8d87530";  // published on the same site
constexpr const char* kFolderInArchive = "cifar-10-batches-bin/";
constexpr const char* kFiles[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                  "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

void fetch(const std::filesystem::path& archive, bool quiet) {
    const char* program = "curl";
    int code = run_program({"curl", "--fail", "--location", "--retry", "3", "--connect-timeout", "20",
                            quiet ? "--silent" : "--progress-bar", "--show-error", "--output",
                            archive.string(), kUrl});
    if (code == kProgramNotFound) {
        program = "wget";
        code = run_program({"wget", quiet ? "--no-verbose" : "--progress=bar", "--timeout=20", "--tries=3",
                            "--output-document=" + archive.string(), kUrl});
    }
    if (code == kProgramNotFound)
        throw Error(fmt::format(
            "--download needs curl or wget, but found neither: download {} by hand, unpack it and run "
            "again without --download",
            kUrl));
    if (code != 0)
        throw Error(fmt::format(
            "cannot download {} ({} ended with code {}; check the network): download it elsewhere, "
            "unpack it and run again without --download",
            kUrl, program, code));
}

void verify(const std::filesystem::path& archive) {
    std::string sum;
    const int code = run_program({"md5sum", archive.string()}, &sum);
    if (code != 0) throw Error("cannot verify the downloaded archive: cannot run md5sum");
    // md5sum puts a backslash before the sum if the file name has special characters.
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
    // An absolute path, so that a name starting with '-' is not taken for an option.
    const auto work = std::filesystem::absolute(folder) / fmt::format(".glow-download-{}", getpid());
    std::filesystem::create_directory(work, code);
    if (code) throw InputError(fmt::format("cannot write to folder {}: {}", folder.string(), code.message()));
    try {
        const auto archive = work / "archive.tar.gz";
        fetch(archive, quiet);
        verify(archive);
        std::vector<std::string> argv = {"tar", "-xzf",        archive.string(),
                                         "-C",  work.string(), "--no-same-owner"};
        for (const char* name : kFiles) argv.push_back(std::string(kFolderInArchive) + name);
        const int unpacked = run_program(argv);
        if (unpacked == kProgramNotFound)
            throw Error("--download needs tar to unpack the archive, but found none");
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
