#include "data/formats/atomic_file.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "tests/data/files.h"

namespace glow {
namespace {

void write_text(const std::filesystem::path& path, const std::string& text) {
    write_atomically(path, [&](const std::filesystem::path& temporary) { write_bytes(temporary, text); });
}

TEST(AtomicFile, ReplacesFile) {
    const TemporaryFolder folder;
    write_text(folder / "a", "one");
    EXPECT_EQ(read_bytes(folder / "a"), "one");
    write_text(folder / "a", "second");
    EXPECT_EQ(read_bytes(folder / "a"), "second");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, FailedWriteKeepsPreviousFile) {
    const TemporaryFolder folder;
    write_text(folder / "a", "one");
    EXPECT_THROW(write_atomically(folder / "a",
                                  [](const std::filesystem::path& temporary) {
                                      write_bytes(temporary, "half");
                                      throw Error("stop");
                                  }),
                 Error);
    EXPECT_EQ(read_bytes(folder / "a"), "one");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, TargetUnchangedBeforeCommit) {
    const TemporaryFolder folder;
    write_text(folder / "a", "one");
    {
        AtomicFile file(folder / "a");
        EXPECT_EQ(file.temporary().parent_path(), folder.path());
        write_bytes(file.temporary(), "two");
        EXPECT_EQ(read_bytes(folder / "a"), "one");
        file.commit();
        EXPECT_EQ(read_bytes(folder / "a"), "two");
    }
    EXPECT_EQ(read_bytes(folder / "a"), "two");
}

TEST(AtomicFile, ConcurrentWritersDoNotCollide) {
    const TemporaryFolder folder;
    AtomicFile first(folder / "a"), second(folder / "a");
    EXPECT_NE(first.temporary(), second.temporary());
}

TEST(AtomicFile, FollowsLinks) {
    const TemporaryFolder folder;
    write_text(folder / "a", "one");
    std::filesystem::create_symlink("a", folder / "link");
    write_text(folder / "link", "two");
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
    EXPECT_EQ(read_bytes(folder / "a"), "two");
}

TEST(AtomicFile, RejectsUnwritablePaths) {
    const TemporaryFolder folder;
    write_text(folder / "file", "x");
    const auto try_to_write = [](const std::filesystem::path& path) {
        return [path] { AtomicFile file(path); };
    };
    expect_throw<InputError>(try_to_write(folder / "none/a"), {"none", "does not exist: create it first"});
    expect_throw<InputError>(try_to_write(folder / "file/a"), {"file/a", "Not a directory"});
    expect_throw<InputError>(try_to_write(folder.path()), {"it is a folder"});
    expect_throw<InputError>(try_to_write("/dev/null"), {"/dev/null", "not a regular file"});
    expect_throw<InputError>(try_to_write("/proc/glow"), {"/proc/glow"});
    expect_throw<InputError>(try_to_write(folder / std::string(300, 'a')), {"too long"});
    expect_throw<InputError>(try_to_write(""), {"without a name"});
    EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(AtomicFile, RejectsReadOnlyFolder) {
    if (geteuid() == 0) GTEST_SKIP() << "root can write everywhere";
    const TemporaryFolder folder;
    std::filesystem::permissions(folder.path(),
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    expect_throw<InputError>([&] { AtomicFile file(folder / "a"); }, {"Permission denied"});
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
}

// What a process leaves that is killed while it writes `path`.
void leave_half(const std::filesystem::path& path) {
    const pid_t child = fork();
    if (child == 0) {
        const AtomicFile file(path);
        write_bytes(file.temporary(), "half");
        ::kill(getpid(), SIGKILL);
    }
    waitpid(child, nullptr, 0);
}

TEST(AtomicFile, RemovesFilesOfKilledProcesses) {
    const TemporaryFolder folder;
    leave_half(folder / "a");
    ASSERT_EQ(folder.names().size(), 1u);
    const AtomicFile used(folder / "b");
    const std::string own = used.temporary().filename().string();
    // Of a process on another host, which may be running, and files with similar names.
    const std::filesystem::path foreign = folder / ".glow-00000000-1-0.tmp";
    for (const char* const name : {".glow-00000000-1-0.tmp", ".glow-notes", "x.tmp"})
        write_bytes(folder / name, "text");
    std::vector<std::string> expected = {own, ".glow-00000000-1-0.tmp", ".glow-notes", "x.tmp"};
    std::sort(expected.begin(), expected.end());
    const auto left = [&] {
        std::vector<std::string> names = folder.names();
        std::sort(names.begin(), names.end());
        return names;
    };
    remove_abandoned_files(folder.path());
    EXPECT_EQ(left(), expected);
    std::filesystem::last_write_time(foreign,
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(25));
    remove_abandoned_files(folder.path());
    std::erase(expected, ".glow-00000000-1-0.tmp");
    EXPECT_EQ(left(), expected);
    write_bytes(foreign, "text");
    remove_abandoned_files_of_own_folder(folder.path());
    EXPECT_EQ(left(), expected);
    remove_abandoned_files(folder / "none");
}

TEST(AtomicFile, DeletedTemporaryFileIsError) {
    const TemporaryFolder folder;
    AtomicFile file(folder / "a");
    std::filesystem::remove(file.temporary());
    expect_throw<Error>([&] { file.commit(); }, {"cannot write", "No such file"});
}

}  // namespace
}  // namespace glow
