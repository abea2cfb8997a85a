// Processes by MPI. One thread of each process, the communication thread, makes all calls to MPI, in the
// order in which they were asked for: MPI needs MPI_THREAD_FUNNELED alone, and sums run beside the
// computation.
//
// Sums and copies are made of non-blocking messages between pairs, in two rounds: every rank gets its share
// of the elements from all others and adds them in the order of the ranks, then all shares go to all. MPI's
// own collectives may add in another order from call to call, and cannot be left while a process is dead.
#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <future>
#include <optional>
#include <utility>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/device.h"

namespace glow {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

void check_mpi(int code, const char* call, int line) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw Error(fmt::format("mpi_communicator.cpp:{}: {} failed: {}", line, call, text));
}
#define GLOW_MPI(call) check_mpi(call, #call, __LINE__)

constexpr double kOpeningSeconds = 300;              // processes may start minutes apart on a large machine
constexpr milliseconds kGrace(3000);                 // for MPI_Abort to reach everyone
constexpr index_t kHostElements = index_t{1} << 13;  // doubles summed at once in host memory
constexpr std::size_t kPieceBytes = std::size_t{1} << 26;  // of copies: counts of MPI are 32 bits

// Elements of the largest share of `count`, and of room for the shares of all others.
index_t room(index_t count, int size) {
    return slice_of(count, 0, size).count * (size - 1);
}

// Waits for messages: at first without sleeping, then with ever longer naps, for the processors are the
// computation's.
class Backoff {
  public:
    void take() {
        if (++turns_ < 16) {
            std::this_thread::yield();
            return;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(std::min(10 + turns_, 200)));
    }

  private:
    int turns_ = 0;
};

struct Sum {
    template <class T>
    static T join(T a, T b) {
        return a + b;
    }
};
struct Maximum {
    template <class T>
    static T join(T a, T b) {
        return a >= b || std::isnan(a) ? a : b;
    }
};

class MpiCommunicator : public Communicator {
  public:
    explicit MpiCommunicator(double watchdog_seconds) : limit_(watchdog_seconds) {
        if (limit_ > 0) watchdog_.emplace(limit_, [this](const std::string& reason) { end_run(1, reason); });
        std::promise<void> opened;
        thread_ = thread_without_signals([this, &opened] { serve(opened); });
        try {
            opened.get_future().get();
        } catch (...) {
            thread_.join();
            throw;
        }
        if (!watchdog_) return;
        watchdog_->watch(heartbeat_, "its computation");
        if (size() > 1) watchdog_->watch(neighbor_, who(previous()));
    }

    // Collective. All that was started must have been finished.
    ~MpiCommunicator() override {
        const Heartbeat::ScopedTimeout timeout(heartbeat_, 2 * Heartbeat::kFileTimeout, "waiting for other ranks");
        post([this] { part(); });
        {
            const std::lock_guard lock(mutex_);
            closing_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

    std::string name() const override { return "MPI"; }

    void all_reduce_sum(index_t count, double* values) override {
        for (index_t done = 0; done < count; done += kHostElements)
            ask([=, this] {
                join<Sum>(std::min(kHostElements, count - done), values + done, host_scratch_.data(),
                          MPI_DOUBLE);
            });
    }
    void all_reduce_max(index_t count, double* values) override {
        for (index_t done = 0; done < count; done += kHostElements)
            ask([=, this] {
                join<Maximum>(std::min(kHostElements, count - done), values + done, host_scratch_.data(),
                              MPI_DOUBLE);
            });
    }
    void broadcast(std::size_t bytes, void* data) override {
        ask([=, this] { copy_from_first(bytes, static_cast<std::byte*>(data)); });
    }
    void all_gather(const std::vector<std::size_t>& begin, void* data) override {
        ask([&] { exchange(begin, static_cast<std::byte*>(data)); });
    }

    // Of the CPU alone: sums over a GPU's memory go through host memory of this object.
    std::size_t scratch_bytes(const Exec& exec, index_t count) const override {
        if (exec.device == Device::cuda) return 0;
        return static_cast<std::size_t>(room(std::min(count, kBucketElements), size())) * sizeof(float);
    }
    bool graph_capturable() const override { return false; }
    void all_reduce_sum(const Exec& exec, index_t count, double* values) override {
        if (exec.device != Device::cuda) return all_reduce_sum(count, values);
        std::vector<double> here = downloaded(exec, count, values);
        all_reduce_sum(count, here.data());
        upload(exec, count, here.data(), values);
    }
    void all_reduce_async(const Exec& exec, index_t count, float* values, void* scratch) override {
        for (index_t done = 0; done < count; done += kBucketElements) {
            const index_t bucket = std::min(kBucketElements, count - done);
            if (exec.device == Device::cuda)
                sum_through_host(exec, bucket, values + done);
            else
                post(
                    [=, this] { join<Sum>(bucket, values + done, static_cast<float*>(scratch), MPI_FLOAT); });
        }
    }
    void finish_all_reduces(const Exec&) override {
        ask([] {});
    }

    void watch(std::function<std::string()> fault, std::function<void()> before_end) override {
        {
            const std::lock_guard lock(mutex_);
            before_end_ = std::move(before_end);
        }
        if (watchdog_) watchdog_->ask(std::move(fault));
    }

  protected:
    void end_all(int status) override { end_run(status, ""); }

  private:
    // ---- The two threads ---------------------------------------------------------------------------

    void post(std::function<void()> job) {
        {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(std::move(job));
        }
        wake_.notify_all();
    }

    // Runs `job` on the communication thread, behind all that was posted before.
    template <class Job>
    void ask(Job job) {
        const Heartbeat::ScopedTimeout timeout(heartbeat_, 2 * Heartbeat::kFileTimeout, "waiting for other ranks");
        std::promise<void> done;
        post([&] {
            job();
            done.set_value();
        });
        done.get_future().get();
    }

    void serve(std::promise<void>& opened) {
        std::promise<void>* starting = &opened;
        try {
            open();
            std::exchange(starting, nullptr)->set_value();
            for (;;) {
                std::function<void()> job;
                {
                    std::unique_lock lock(mutex_);
                    wake_.wait_for(lock, beat_interval() / 2,
                                   [this] { return !jobs_.empty() || closing_ || ending_; });
                    if (!jobs_.empty()) {
                        job = std::move(jobs_.front());
                        jobs_.pop_front();
                    } else if (closing_) {
                        break;
                    }
                }
                if (job) job();
                stay_alive();
            }
            // All is done, and the neighbor has said its last.
            const Heartbeat::ScopedTimeout own(thread_heartbeat_, kOpeningSeconds, "closing MPI"),
                neighbors(neighbor_, kOpeningSeconds, "closing MPI");
            MPI_Finalize();
        } catch (const std::exception& error) {
            if (starting != nullptr)
                starting->set_exception(std::current_exception());
            else
                end_run(1, error.what());
        }
    }

    void open() {
        const Heartbeat::ScopedTimeout timeout(thread_heartbeat_, kOpeningSeconds, "opening MPI");
        if (watchdog_) watchdog_->watch(thread_heartbeat_, "the communication thread");
        int provided = 0;
        if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
            throw Error("MPI_Init_thread failed");
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        if (provided < MPI_THREAD_FUNNELED)
            throw Error("this MPI allows no threads; Glow needs MPI_THREAD_FUNNELED");
        // Messages of the computation and signs of life must not be mixed up.
        GLOW_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &world_));
        GLOW_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &beats_));
        ProcessGroup group;
        GLOW_MPI(MPI_Comm_rank(world_, &group.rank));
        GLOW_MPI(MPI_Comm_size(world_, &group.size));
        MPI_Comm host;
        GLOW_MPI(MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, group.rank, MPI_INFO_NULL, &host));
        GLOW_MPI(MPI_Comm_rank(host, &group.local_rank));
        GLOW_MPI(MPI_Comm_size(host, &group.local_size));
        GLOW_MPI(MPI_Comm_free(&host));

        constexpr int kName = 64;
        std::vector<char> names(static_cast<std::size_t>(group.size) * kName);
        char name[kName] = "";
        gethostname(name, kName - 1);
        GLOW_MPI(MPI_Allgather(name, kName, MPI_CHAR, names.data(), kName, MPI_CHAR, world_));
        group.hosts.clear();
        for (int r = 0; r < group.size; ++r) group.hosts.emplace_back(names.data() + r * kName);
        group_ = group;

        host_scratch_.resize(static_cast<std::size_t>(std::max<index_t>(1, room(kHostElements, size()))));
        requests_.reserve(static_cast<std::size_t>(2 * size()));
        if (size() > 1) GLOW_MPI(MPI_Irecv(&heard_, 1, MPI_INT, previous(), 0, beats_, &hearing_));
    }

    // ---- Signs of life: around the ring, each rank to the next -----------------------------------------

    std::string who(int r) const { return fmt::format("rank {} on {}", r, group_.hosts[r]); }
    int previous() const { return (rank() + size() - 1) % size(); }
    int next() const { return (rank() + 1) % size(); }
    std::chrono::duration<double> beat_interval() const {
        return std::chrono::duration<double>(limit_ > 0 ? std::min(1.0, limit_ / 10) : 1.0);
    }

    // To be called again and again by the communication thread, also while it waits.
    void stay_alive() {
        thread_heartbeat_.beat();
        if (ending_) MPI_Abort(MPI_COMM_WORLD, status_);
        const Clock::time_point now = Clock::now();
        if (size() == 1 || now < next_beat_) return;
        next_beat_ = now + std::chrono::duration_cast<Clock::duration>(beat_interval() / 4);
        int done = 0;
        GLOW_MPI(MPI_Test(&hearing_, &done, MPI_STATUS_IGNORE));
        if (done) {
            neighbor_.beat();
            if (heard_ != kLastBeat)
                GLOW_MPI(MPI_Irecv(&heard_, 1, MPI_INT, previous(), 0, beats_, &hearing_));
        }
        GLOW_MPI(MPI_Test(&telling_, &done, MPI_STATUS_IGNORE));
        if (done && told_ != kLastBeat) tell(kBeat);
    }

    void tell(int beat) {
        told_ = beat;
        GLOW_MPI(MPI_Isend(&told_, 1, MPI_INT, next(), 0, beats_, &telling_));
    }

    // Nobody leaves before all have come, and no message is left under way.
    void part() {
        double nothing = 0;
        join<Sum>(1, &nothing, host_scratch_.data(), MPI_DOUBLE);
        if (size() == 1) return;
        Backoff backoff;
        for (int done = 0; !done; backoff.take()) {
            thread_heartbeat_.beat();
            GLOW_MPI(MPI_Test(&telling_, &done, MPI_STATUS_IGNORE));
        }
        tell(kLastBeat);
        for (int told = 0; !told || heard_ != kLastBeat; backoff.take()) {
            stay_alive();
            if (!told) GLOW_MPI(MPI_Test(&telling_, &told, MPI_STATUS_IGNORE));
        }
    }

    // From any thread. MPI_Abort is the communication thread's; if that hangs, the launcher and the neighbor
    // notice that this process is gone.
    [[noreturn]] void end_run(int status, const std::string& reason) {
        if (!reason.empty()) {
            const std::string line = fmt::format("glow: error: {}: {}; the run ends\n", who(rank()), reason);
            std::fwrite(line.data(), 1, line.size(), stderr);
        }
        std::fflush(stdout);
        do_before_end();
        status_ = status;
        ending_ = true;
        if (std::this_thread::get_id() == thread_.get_id()) MPI_Abort(MPI_COMM_WORLD, status);
        wake_.notify_all();
        std::this_thread::sleep_for(kGrace);
        std::_Exit(status);
    }

    // It may hang.
    void do_before_end() {
        std::function<void()> job;
        {
            const std::lock_guard lock(mutex_);
            job = std::exchange(before_end_, nullptr);
        }
        if (!job) return;
        const auto done = std::make_shared<std::promise<void>>();
        std::thread([job, done] {
            job();
            done->set_value();
        }).detach();
        done->get_future().wait_for(kGrace / 3);
    }

    // Complete at return: the calling thread's device works on nothing else meanwhile.
    void sum_through_host(const Exec& exec, index_t count, float* values) {
        if (size() == 1) return;
        if (staging_.data() == nullptr)
            staging_ = HostArray<float>(exec.device, kBucketElements + room(kBucketElements, size()));
        download(exec, count, values, staging_.data());
        ask([=, this] { join<Sum>(count, staging_.data(), staging_.data() + kBucketElements, MPI_FLOAT); });
        upload(exec, count, staging_.data(), values);
    }

    // ---- Messages ------------------------------------------------------------------------------------

    MPI_Request* request() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

    void wait_for_messages() {
        Backoff backoff;
        for (int done = 0;; backoff.take()) {
            GLOW_MPI(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                                 MPI_STATUSES_IGNORE));
            stay_alive();
            if (done) break;
        }
        requests_.clear();
    }

    // values = join over the ranks of values. scratch: room(count, size) elements.
    template <class Join, class T>
    void join(index_t count, T* values, T* scratch, MPI_Datatype type) {
        if (size() == 1) return;
        const Slice mine = slice(count);
        const auto part = [&](int r) { return scratch + mine.count * (r < rank() ? r : r - 1); };
        for (int i = 1; i < size(); ++i) {
            const int to = (rank() + i) % size(), from = (rank() + size() - i) % size();
            const Slice theirs = slice_of(count, to, size());
            if (mine.count > 0)
                GLOW_MPI(MPI_Irecv(part(from), static_cast<int>(mine.count), type, from, kJoin, world_,
                                   request()));
            if (theirs.count > 0)
                GLOW_MPI(MPI_Isend(values + theirs.first, static_cast<int>(theirs.count), type, to, kJoin,
                                   world_, request()));
        }
        wait_for_messages();

        T* const own = values + mine.first;
        constexpr index_t kBlock = 1024;
        T joined[kBlock];
        for (index_t first = 0; first < mine.count; first += kBlock) {
            const index_t block = std::min(kBlock, mine.count - first);
            for (int r = 0; r < size(); ++r) {
                const T* const x = (r == rank() ? own : part(r)) + first;
                if (r == 0)
                    std::copy(x, x + block, joined);
                else
                    for (index_t i = 0; i < block; ++i) joined[i] = Join::join(joined[i], x[i]);
            }
            std::copy(joined, joined + block, own + first);
        }

        exchange(slice_offsets(count, size(), sizeof(T)), reinterpret_cast<std::byte*>(values));
    }

    void exchange(const std::vector<std::size_t>& begin, std::byte* data) {
        std::size_t longest = 0;
        for (int r = 0; r < size(); ++r) longest = std::max(longest, begin[r + 1] - begin[r]);
        // Bytes of a rank's part from `done` on, as one message.
        const auto piece = [&](int r, std::size_t done) {
            const std::size_t bytes = begin[r + 1] - begin[r];
            return static_cast<int>(done < bytes ? std::min(kPieceBytes, bytes - done) : 0);
        };
        for (std::size_t done = 0; done < longest; done += kPieceBytes) {
            for (int i = 1; i < size(); ++i) {
                const int to = (rank() + i) % size(), from = (rank() + size() - i) % size();
                if (const int bytes = piece(from, done); bytes > 0)
                    GLOW_MPI(MPI_Irecv(data + begin[from] + done, bytes, MPI_BYTE, from, kExchange, world_,
                                       request()));
                if (const int bytes = piece(rank(), done); bytes > 0)
                    GLOW_MPI(MPI_Isend(data + begin[rank()] + done, bytes, MPI_BYTE, to, kExchange, world_,
                                       request()));
            }
            wait_for_messages();
        }
    }

    // Rank 0 sends each rank its share, then all shares go to all: no process sends the whole more than
    // twice.
    void copy_from_first(std::size_t bytes, std::byte* data) {
        for (std::size_t done = 0; done < bytes; done += kPieceBytes) {
            const auto piece = static_cast<index_t>(std::min(kPieceBytes, bytes - done));
            for (int r = 0; r < size(); ++r) {
                const Slice theirs = slice_of(piece, r, size());
                std::byte* const part = data + done + theirs.first;
                if (theirs.count == 0 || r == 0) continue;
                if (rank() == 0)
                    GLOW_MPI(MPI_Isend(part, static_cast<int>(theirs.count), MPI_BYTE, r, kCopy, world_,
                                       request()));
                else if (rank() == r)
                    GLOW_MPI(MPI_Irecv(part, static_cast<int>(theirs.count), MPI_BYTE, 0, kCopy, world_,
                                       request()));
            }
            wait_for_messages();
            exchange(slice_offsets(piece, size(), 1), data + done);
        }
    }

    static constexpr int kJoin = 1, kExchange = 2, kCopy = 3;  // tags
    static constexpr int kBeat = 1, kLastBeat = 2;

    double limit_;
    MPI_Comm world_ = MPI_COMM_NULL, beats_ = MPI_COMM_NULL;
    std::vector<double> host_scratch_;
    HostArray<float> staging_;
    std::vector<MPI_Request> requests_;
    int heard_ = 0, told_ = 0;
    MPI_Request hearing_ = MPI_REQUEST_NULL, telling_ = MPI_REQUEST_NULL;
    Clock::time_point next_beat_{};

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> jobs_;
    bool closing_ = false;
    std::function<void()> before_end_;
    std::atomic<bool> ending_{false};
    std::atomic<int> status_{1};

    Heartbeat thread_heartbeat_, neighbor_;
    std::thread thread_;
    std::optional<Watchdog> watchdog_;  // ends before what it watches
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(double watchdog_seconds) {
    return std::make_unique<MpiCommunicator>(watchdog_seconds);
}

}  // namespace glow
