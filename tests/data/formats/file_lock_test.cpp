// Locks between processes. A second descriptor stands for another process.
#include "data/formats/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/data/files.h"

namespace glow {
namespace {

TEST(FileLock, NamesHolderUntilReleased) {
    const TemporaryFolder folder;
    {
        const FileLock held(folder / "lock", "the run", "choose another");
        EXPECT_EQ(held.problem(), "");
        expect_throw<InputError>([&] { FileLock(folder / "lock", "the run", "choose another"); },
                                 {"the run is in use by process " + std::to_string(getpid()) + " on host ",
                                  " since 20", "; wait for it, or choose another"});
    }
    EXPECT_TRUE(folder.names().empty());
    const FileLock again(folder / "lock", "the run", "choose another");
}

TEST(FileLock, KilledHolderReleasesLock) {
    const TemporaryFolder folder;
    const pid_t child = fork();
    if (child == 0) {
        const FileLock held(folder / "lock", "the run", "choose another");
        _exit(0);  // no destructors, as if killed
    }
    waitpid(child, nullptr, 0);
    EXPECT_EQ(folder.names(), std::vector<std::string>{"lock"});
    { const FileLock lock(folder / "lock", "the run", "choose another"); }
    EXPECT_TRUE(folder.names().empty());
}

TEST(FileLock, ChildOfKilledHolderDoesNotKeepLock) {
    const TemporaryFolder folder;
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t holder = fork();
    if (holder == 0) {
        const FileLock held(folder / "lock", "the run", "choose another");
        if (fork() == 0) {
            close(ends[1]);
            char end = 0;
            _exit(read(ends[0], &end, 1) == 0 ? 0 : 1);  // at the end of the test
        }
        _exit(0);
    }
    waitpid(holder, nullptr, 0);
    { const FileLock lock(folder / "lock", "the run", "choose another"); }
    close(ends[0]);
    close(ends[1]);
}

TEST(FileLock, ForkKeepsLockOfParent) {
    const TemporaryFolder folder;
    const FileLock held(folder / "lock", "the run", "choose another");
    const pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, nullptr, 0);
    EXPECT_TRUE(held.is_current());
    const int other = open((folder / "lock").c_str(), O_RDONLY);
    EXPECT_FALSE(lock_descriptor(other));
    close(other);
}

TEST(FileLock, DetectsReplacedFile) {
    const TemporaryFolder folder;
    const FileLock lock(folder / "lock", "the run", "choose another");
    EXPECT_TRUE(lock.is_current());
    std::filesystem::remove(folder / "lock");
    EXPECT_FALSE(lock.is_current());
    const FileLock other(folder / "lock", "the run", "choose another");
    EXPECT_FALSE(lock.is_current());
    EXPECT_TRUE(other.is_current());
}

TEST(FileLock, KeepsForeignFile) {
    const TemporaryFolder folder;
    write_bytes(folder / "lock", "shopping list\n");
    { const FileLock lock(folder / "lock", "the run", "choose another"); }
    EXPECT_EQ(read_bytes(folder / "lock"), "shopping list\n");
    std::filesystem::create_symlink("lock", folder / "link");
    expect_throw<InputError>([&] { FileLock(folder / "link", "the run", "choose another"); }, {"link"});
    expect_throw<InputError>([&] { FileLock(folder / "none/lock", "the run", "choose another"); },
                             {"none/lock", "No such file"});
}

}  // namespace
}  // namespace glow
