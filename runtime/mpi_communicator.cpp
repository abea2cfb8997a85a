// Processes connected by MPI. In each process one thread, the communication thread, makes all calls to MPI
// (MPI_THREAD_FUNNELED) in the order of the requests, so that sums overlap with the computation.
//
// Collectives are non-blocking and polled: while it waits, the thread replies to the other ranks' pings, and
// a rank that has crashed or was stopped cannot block it. MPI only moves data: its reductions may add in
// another order from call to call.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <future>
#include <optional>
#include <utility>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/device.h"
#include "runtime/mpi_library.h"
#include "runtime/threads.h"

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

constexpr double kOpeningSeconds = 300;  // processes may start minutes apart on a large machine
constexpr double kCollectiveSeconds = 2 * ScopedTimeout::kFileSeconds;  // another rank may access files
constexpr milliseconds kGrace(3000);                                    // for MPI_Abort to reach all ranks
constexpr index_t kHostElements = index_t{1} << 13;        // doubles reduced at once in host memory
constexpr std::size_t kChunkBytes = std::size_t{1} << 26;  // of a broadcast: MPI counts are 32-bit

// Elements of `count` that one rank receives from all others to reduce its slice.
index_t scratch_elements(index_t count, int size) {
    return slice_of(count, 0, size).count * (size - 1);
}

// Waits between polls: first without sleeping, then for up to 0.2 ms, because the computation needs the
// processors.
class Backoff {
  public:
    void pause() {
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
    static T reduce(T a, T b) {
        return a + b;
    }
};
struct Max {
    template <class T>
    static T reduce(T a, T b) {
        return a >= b || std::isnan(a) ? a : b;
    }
};

// The extent of each rank's part of an array, as MPI expects it.
struct Parts {
    std::vector<int> count, offset;
    void add(index_t first, index_t elements) {
        count.push_back(static_cast<int>(elements));
        offset.push_back(static_cast<int>(first));
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
        watchdog_->watch(Heartbeat::of_this_thread(), "its computation");
        for (int r = 0; r < size(); ++r)
            if (r != rank()) watchdog_->watch(peers_[static_cast<std::size_t>(r)], who(r), limit_ / 2);
    }

    // Collective, on the thread that created it. All sums must be finished.
    ~MpiCommunicator() override {
        const ScopedTimeout timeout("waiting for other ranks", kCollectiveSeconds);
        post([this] { leave_together(); });
        {
            const std::lock_guard lock(mutex_);
            closing_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

    std::string name() const override { return "MPI"; }

    void all_reduce_sum(index_t count, double* values) override { reduce_on_host<Sum>(count, values); }
    void all_reduce_max(index_t count, double* values) override { reduce_on_host<Max>(count, values); }
    void broadcast(std::size_t bytes, void* data) override {
        run([=, this] {
            for (std::size_t done = 0; done < bytes; done += kChunkBytes)
                wait([&](MPI_Request* request) {
                    GLOW_MPI(MPI_Ibcast(static_cast<std::byte*>(data) + done,
                                        static_cast<int>(std::min(kChunkBytes, bytes - done)), MPI_BYTE, 0,
                                        world_, request));
                });
        });
    }
    void all_gather(const std::vector<std::size_t>& begin, void* data) override {
        if (begin.back() > INT_MAX) throw Error("all_gather: at most 2 GiB");
        Parts parts;
        for (std::size_t r = 0; r + 1 < begin.size(); ++r)
            parts.add(static_cast<index_t>(begin[r]), static_cast<index_t>(begin[r + 1] - begin[r]));
        run([&] { gather(parts, data, MPI_BYTE); });
    }

    // For the CPU only: sums over GPU memory use host memory of this object.
    std::size_t scratch_bytes(const Exec& exec, index_t count) const override {
        if (exec.device == Device::cuda) return 0;
        return static_cast<std::size_t>(scratch_elements(std::min(count, kBucketElements), size())) *
               sizeof(float);
    }
    bool graph_capturable() const override { return false; }
    void all_reduce_sum(const Exec& exec, index_t count, double* values) override {
        if (exec.device != Device::cuda) return all_reduce_sum(count, values);
        std::vector<double> host = downloaded(exec, count, values);
        all_reduce_sum(count, host.data());
        upload(exec, count, host.data(), values);
    }
    void all_reduce_async(const Exec& exec, index_t count, float* values, void* scratch) override {
        for (index_t done = 0; done < count; done += kBucketElements) {
            const index_t bucket = std::min(kBucketElements, count - done);
            if (exec.device == Device::cuda)
                reduce_through_host(exec, bucket, values + done);
            else
                post([=, this] {
                    all_reduce<Sum>(bucket, values + done, static_cast<float*>(scratch), MPI_FLOAT);
                });
        }
    }
    void finish_all_reduces(const Exec&) override {
        run([] {});
    }

    void watch(std::function<std::string()> fault, std::function<void()> before_end) override {
        {
            const std::lock_guard lock(mutex_);
            before_end_ = std::move(before_end);
        }
        if (watchdog_) watchdog_->poll(std::move(fault));
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

    // Runs `job` on the communication thread, after all jobs posted before, and waits for it.
    template <class Job>
    void run(Job job) {
        const ScopedTimeout timeout("waiting for other ranks", kCollectiveSeconds);
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
                    wake_.wait_for(lock, poll_interval(),
                                   [this] { return !jobs_.empty() || closing_ || ending_; });
                    if (!jobs_.empty()) {
                        job = std::move(jobs_.front());
                        jobs_.pop_front();
                    } else if (closing_) {
                        break;
                    }
                }
                if (job) job();
                poll();
            }
            const ScopedTimeout timeout("closing MPI", kOpeningSeconds, heartbeat_);
            MPI_Finalize();
        } catch (const std::exception& error) {
            if (starting != nullptr)
                starting->set_exception(std::current_exception());
            else
                end_run(1, error.what());
        }
    }

    void open() {
        const ScopedTimeout timeout("opening MPI", kOpeningSeconds, heartbeat_);
        if (watchdog_) watchdog_->watch(heartbeat_, "its communication thread");
        int provided = 0;
        if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
            throw Error("MPI_Init_thread failed");
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        if (provided < MPI_THREAD_FUNNELED)
            throw Error("this MPI does not support threads (MPI_THREAD_FUNNELED), which Glow needs");
        GLOW_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &world_));
        GLOW_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &ping_comm_));
        ProcessGroup group;
        GLOW_MPI(MPI_Comm_rank(world_, &group.rank));
        GLOW_MPI(MPI_Comm_size(world_, &group.size));
        MPI_Comm host;
        GLOW_MPI(MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, group.rank, MPI_INFO_NULL, &host));
        GLOW_MPI(MPI_Comm_rank(host, &group.local_rank));
        GLOW_MPI(MPI_Comm_size(host, &group.local_size));
        const ProcessorMask mask = affinity_mask();
        std::vector<ProcessorMask> masks(static_cast<std::size_t>(group.local_size));
        constexpr auto kMask = static_cast<int>(sizeof(ProcessorMask));
        GLOW_MPI(MPI_Allgather(&mask, kMask, MPI_BYTE, masks.data(), kMask, MPI_BYTE, host));
        group.mask_share = processor_share(masks, static_cast<std::size_t>(group.local_rank));
        GLOW_MPI(MPI_Comm_free(&host));

        constexpr int kName = 64;
        std::vector<char> names(static_cast<std::size_t>(group.size) * kName);
        char name[kName] = "";
        gethostname(name, kName - 1);
        GLOW_MPI(MPI_Allgather(name, kName, MPI_CHAR, names.data(), kName, MPI_CHAR, world_));
        group.hosts.clear();
        for (int r = 0; r < group.size; ++r) group.hosts.emplace_back(names.data() + r * kName);
        group_ = group;

        host_scratch_.resize(static_cast<std::size_t>(scratch_elements(kHostElements, size())));
        peers_ = std::vector<Heartbeat>(static_cast<std::size_t>(size()));
        for (Heartbeat& peer : peers_) peer.pause();
        last_progress_ = Clock::now();
    }

    // ---- Failure detection -----------------------------------------------------------------------
    // A rank that makes no progress for a while pings the others, which must reply.

    std::string who(int r) const { return fmt::format("rank {} on {}", r, group_.hosts[r]); }
    std::chrono::duration<double> poll_interval() const {
        return std::chrono::duration<double>(limit_ > 0 ? std::min(0.25, limit_ / 40) : 0.25);
    }

    // Called repeatedly by the communication thread, also while it waits.
    void poll() {
        heartbeat_.beat();
        if (ending_) MPI_Abort(MPI_COMM_WORLD, status_);
        const Clock::time_point now = Clock::now();
        if (size() == 1 || now < next_poll_) return;
        next_poll_ = now + std::chrono::duration_cast<Clock::duration>(poll_interval());
        receive_pings();
        if (limit_ > 0 && !leaving_ && unanswered_pings_ == 0 &&
            std::chrono::duration<double>(now - last_progress_).count() > limit_ / 4)
            ping_all();
    }

    void ping_all() {
        for (int r = 0; r < size(); ++r) {
            if (r == rank()) continue;
            send(kPing, r);
            peers_[static_cast<std::size_t>(r)].expect();
            ++unanswered_pings_;
        }
    }

    void receive_pings() {
        for (;;) {
            int found = 0;
            MPI_Status message;
            GLOW_MPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, ping_comm_, &found, &message));
            if (!found) return;
            GLOW_MPI(MPI_Recv(nullptr, 0, MPI_BYTE, message.MPI_SOURCE, message.MPI_TAG, ping_comm_,
                              MPI_STATUS_IGNORE));
            if (message.MPI_TAG == kPing) {
                send(kReply, message.MPI_SOURCE);
                continue;
            }
            peers_[static_cast<std::size_t>(message.MPI_SOURCE)].pause();
            --unanswered_pings_;
            last_progress_ = Clock::now();
        }
    }

    // An empty message needs no buffer, so its request can be given up at once.
    void send(int tag, int to) {
        MPI_Request request;
        GLOW_MPI(MPI_Isend(nullptr, 0, MPI_BYTE, to, tag, ping_comm_, &request));
        GLOW_MPI(MPI_Request_free(&request));
    }

    // Waits for all ranks, and leaves no message pending for MPI_Finalize. After the first barrier no rank
    // sends a ping; before the second, each rank has received all replies.
    void leave_together() {
        barrier_of_threads();
        leaving_ = true;
        for (Backoff backoff; unanswered_pings_ > 0; backoff.pause()) poll();
        barrier_of_threads();
    }

    void barrier_of_threads() {
        wait([this](MPI_Request* request) { GLOW_MPI(MPI_Ibarrier(world_, request)); });
    }

    // Callable from any thread. Only the communication thread may call MPI_Abort; if that hangs, the launcher
    // and the other ranks notice that this process has exited.
    [[noreturn]] void end_run(int status, const std::string& reason) {
        if (!reason.empty()) {
            const char* const erase = isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "";  // a progress line
            const std::string line =
                fmt::format("{}glow: error: {}: {}; the run ends\n", erase, who(rank()), reason);
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

    // May hang.
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

    // ---- Collectives ---------------------------------------------------------------------------------

    // start(request) starts a collective; this waits for its end.
    template <class Start>
    void wait(Start start) {
        MPI_Request request;
        start(&request);
        Backoff backoff;
        for (int done = 0;; backoff.pause()) {
            GLOW_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
            if (done) break;
            poll();
        }
        last_progress_ = Clock::now();
    }

    // values = the ranks' values, reduced in rank order. scratch: scratch_elements(count, size()) elements.
    template <class Op, class T>
    void all_reduce(index_t count, T* values, T* scratch, MPI_Datatype type) {
        if (size() == 1) return;
        const Slice mine = slice(count);
        Parts slices, sent, received;
        for (int r = 0; r < size(); ++r) {
            const Slice theirs = slice_of(count, r, size());
            slices.add(theirs.first, theirs.count);
            sent.add(theirs.first, r == rank() ? 0 : theirs.count);
            received.add(mine.count * (r < rank() ? r : r - 1), r == rank() ? 0 : mine.count);
        }
        received.offset[0] = 0;  // rank 0 has -1 there for itself, unused
        wait([&](MPI_Request* request) {
            GLOW_MPI(MPI_Ialltoallv(values, sent.count.data(), sent.offset.data(), type, scratch,
                                    received.count.data(), received.offset.data(), type, world_, request));
        });

        T* const own = values + mine.first;
        constexpr index_t kBlock = 1024;
        T reduced[kBlock];
        for (index_t first = 0; first < mine.count; first += kBlock) {
            const index_t block = std::min(kBlock, mine.count - first);
            for (int r = 0; r < size(); ++r) {
                const T* const x = (r == rank() ? own : scratch + received.offset[r]) + first;
                if (r == 0)
                    std::copy(x, x + block, reduced);
                else
                    for (index_t i = 0; i < block; ++i) reduced[i] = Op::reduce(reduced[i], x[i]);
            }
            std::copy(reduced, reduced + block, own + first);
        }
        gather(slices, values, type);
    }

    // Every rank's part of `data` to all ranks, in place.
    void gather(const Parts& parts, void* data, MPI_Datatype type) {
        if (size() == 1) return;
        wait([&](MPI_Request* request) {
            GLOW_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, parts.count.data(),
                                     parts.offset.data(), type, world_, request));
        });
    }

    template <class Op>
    void reduce_on_host(index_t count, double* values) {
        for (index_t done = 0; done < count; done += kHostElements)
            run([=, this] {
                all_reduce<Op>(std::min(kHostElements, count - done), values + done, host_scratch_.data(),
                               MPI_DOUBLE);
            });
    }

    // Complete on return; the device is idle meanwhile.
    void reduce_through_host(const Exec& exec, index_t count, float* values) {
        if (size() == 1) return;
        if (staging_.data() == nullptr)
            staging_ =
                HostArray<float>(exec.device, kBucketElements + scratch_elements(kBucketElements, size()));
        download(exec, count, values, staging_.data());
        run([=, this] {
            all_reduce<Sum>(count, staging_.data(), staging_.data() + kBucketElements, MPI_FLOAT);
        });
        upload(exec, count, staging_.data(), values);
    }

    static constexpr int kPing = 1, kReply = 2;  // tags

    double limit_;  // seconds; 0: none
    MPI_Comm world_ = MPI_COMM_NULL, ping_comm_ = MPI_COMM_NULL;
    std::vector<double> host_scratch_;
    HostArray<float> staging_;

    // Of the communication thread.
    Clock::time_point last_progress_{}, next_poll_{};
    int unanswered_pings_ = 0;
    bool leaving_ = false;

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> jobs_;
    bool closing_ = false;
    std::function<void()> before_end_;
    std::atomic<bool> ending_{false};
    std::atomic<int> status_{1};

    Heartbeat heartbeat_;           // of the communication thread
    std::vector<Heartbeat> peers_;  // of the other ranks: due while a ping is unanswered
    std::thread thread_;
    std::optional<Watchdog> watchdog_;  // destroyed before what it watches
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(double watchdog_seconds) {
    return std::make_unique<MpiCommunicator>(watchdog_seconds);
}

}  // namespace glow
