#include "data/formats/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "kernels/error.h"

namespace glow {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A killed process holds its locks until its memory is freed.
constexpr milliseconds kTimeout{2000}, kTimeoutWhileExiting{10000}, kPoll{50};

// Result of flock(): granted, held by another process, or not supported.
enum class Grant { yes, held, unsupported };

Grant grant(int descriptor) {
    int status = 0;
    while ((status = flock(descriptor, LOCK_EX | LOCK_NB)) != 0 && errno == EINTR) {
    }
    if (status == 0) return Grant::yes;
    // NFS may report EACCES, as fcntl() does.
    return errno == EWOULDBLOCK || errno == EACCES ? Grant::held : Grant::unsupported;
}

// The descriptors of all locks of this process. A child of fork() closes its copies: otherwise it would keep
// the locks of a parent that is killed.
class HeldLocks {
  public:
    static HeldLocks& instance() {
        static HeldLocks* const all = new HeldLocks;  // never destroyed: threads may hold locks at exit
        return *all;
    }
    void add(int* descriptor) {
        const std::lock_guard lock(mutex_);
        descriptors_.insert(descriptor);
    }
    void remove(int* descriptor) {
        const std::lock_guard lock(mutex_);
        descriptors_.erase(descriptor);
    }

  private:
    HeldLocks() {
        pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                       [] { instance().close_all(); });
    }
    void close_all() {
        for (int* const descriptor : descriptors_) close(std::exchange(*descriptor, -1));
        descriptors_.clear();
        mutex_.unlock();
    }

    std::mutex mutex_;
    std::set<int*> descriptors_;
};

std::string host_name() {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    return name;
}

std::string self() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char time[32];
    std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return fmt::format("process {} on host {} since {}", getpid(), host_name(), time);
}

// Whether the process has exited or released its memory. Known only for processes on this host.
bool is_exiting(const std::string& holder) {
    int pid = 0;
    char host[256] = "";
    if (std::sscanf(holder.c_str(), "process %d on host %255s", &pid, host) != 2) return false;
    if (host != host_name() || pid <= 0) return false;
    std::ifstream command(fmt::format("/proc/{}/cmdline", pid));
    return command.peek() == std::ifstream::traits_type::eof();
}

}  // namespace

bool lock_descriptor(int descriptor, bool without_locks) {
    const Grant granted = grant(descriptor);
    return granted == Grant::unsupported ? without_locks : granted == Grant::yes;
}

FileLock::FileLock(std::filesystem::path file, const std::string& what, const std::string& advice)
    : file_(std::move(file)) {
    const Clock::time_point start = Clock::now();
    while (!try_lock()) {
        const std::string other = holder();
        if (Clock::now() - start > (is_exiting(other) ? kTimeoutWhileExiting : kTimeout))
            throw InputError(fmt::format("{} is in use by {}; wait for it, or {}", what,
                                         other.empty() ? "another process" : other, advice));
        std::this_thread::sleep_for(kPoll);
    }
    if (!problem_.empty()) return;
    name_holder();
    HeldLocks::instance().add(&descriptor_);
}

void FileLock::name_holder() {
    // Never modify a file that something else wrote.
    struct stat status {};
    owned_ = fstat(descriptor_, &status) == 0 && (status.st_size == 0 || !holder().empty());
    if (!owned_) return;
    // If the disk is full, the text is lost but the lock holds.
    const std::string text = self() + "\n";
    const int writable = open(file_.c_str(), O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
    if (writable < 0) return;
    (void)!write(writable, text.data(), text.size());
    close(writable);
}

// Returns false if another process holds the lock.
bool FileLock::try_lock() {
    // Open read-only if possible: a writable descriptor would block remounting the file system read-only. NFS
    // locks only files opened for writing.
    for (int access = O_RDONLY;;) {
        descriptor_ =
            open(file_.c_str(), access | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0666);
        if (descriptor_ < 0) {
            const std::string text = fmt::format("cannot write {}: {}", file_.string(), std::strerror(errno));
            if (errno == ENOSPC || errno == EDQUOT) throw Error(text);
            throw InputError(text);
        }
        struct stat status {};
        if (fstat(descriptor_, &status) != 0) {  // another process may hold the lock
            const std::string text = fmt::format("cannot lock {}: {}", file_.string(), std::strerror(errno));
            close(descriptor_);
            throw Error(text);
        }
        if (!S_ISREG(status.st_mode)) {
            close(descriptor_);
            throw InputError(
                fmt::format("{} is a lock file's name, but no regular file: remove it", file_.string()));
        }
        const Grant granted = grant(descriptor_);
        if (granted == Grant::unsupported && errno == EBADF && access == O_RDONLY) {
            access = O_RDWR;
            close(descriptor_);
            continue;
        }
        if (granted == Grant::unsupported) {
            problem_ = std::strerror(errno);
            if (status.st_size == 0) unlink(file_.c_str());
            return true;
        }
        // The previous holder may have removed the file after we opened it.
        if (granted == Grant::yes && is_current()) return true;
        close(descriptor_);
        descriptor_ = -1;
        if (granted == Grant::held) return false;
    }
}

FileLock::~FileLock() {
    HeldLocks::instance().remove(&descriptor_);
    if (descriptor_ < 0) return;
    if (owned_ && is_current()) unlink(file_.c_str());
    close(descriptor_);
}

bool FileLock::is_current() const {
    if (!problem_.empty()) return true;
    struct stat ours, named;
    return fstat(descriptor_, &ours) == 0 && lstat(file_.c_str(), &named) == 0 &&
           ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

// The text the holder wrote; empty if it cannot be read or has another form.
std::string FileLock::holder() const {
    std::ifstream file(file_);
    std::string line;
    std::getline(file, line);
    if (!line.starts_with("process ") || line.size() > 400) return "";
    for (char& character : line)
        if (static_cast<unsigned char>(character) < ' ' || character == 127) character = '?';
    return line;
}

}  // namespace glow
