// NCCL for sums over device memory, MPI for everything else; one CUDA device per process. The sums of a step
// run on a separate stream, which the computation's stream waits for only at the end.
//
// NCCL calls are non-blocking because a peer may be dead: they are polled, and the watchdog checks for
// asynchronous errors (docs.nvidia.com/deeplearning/nccl: "Fault Tolerance"). One thread at a time uses the
// communicator ("Thread Safety"); no call holds the mutex for long.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include <array>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "kernels/error.h"
#include "runtime/communicator.h"
#include "runtime/cuda_call.h"

namespace glow {
namespace {

constexpr double kNcclOpeningSeconds = 300;  // enough for a thousand devices

class NcclCommunicator : public Communicator {
  public:
    explicit NcclCommunicator(std::unique_ptr<Communicator> mpi)
        : Communicator(mpi->group()), mpi_(std::move(mpi)) {
        choose_device();
        try {
            open();
            GLOW_CUDA(cudaStreamCreateWithFlags(stream_.out(), cudaStreamNonBlocking));
            GLOW_CUDA(cudaEventCreateWithFlags(ready_.out(), cudaEventDisableTiming));
            GLOW_CUDA(cudaEventCreateWithFlags(done_.out(), cudaEventDisableTiming));
        } catch (const std::exception& error) {  // the other ranks wait for this one
            fmt::print(stderr, "rank {} on {}: error: {}\n", rank(), group_.hosts[rank()], error.what());
            mpi_->abort(1);
        }
        // Only ncclCommAbort may be called while another thread is in an NCCL call, which it ends.
        mpi_->watch([this] { return fault(); }, [this] { ncclCommAbort(nccl_); });
    }

    // Collective. Graphs that contain its sums must be destroyed first.
    ~NcclCommunicator() override {
        mpi_->watch(nullptr, nullptr);
        cudaStreamSynchronize(stream_);
        ncclResult_t state = ncclCommFinalize(nccl_);
        for (; state == ncclInProgress; state = async_state()) sleep_briefly();
        // Otherwise abort, which does not wait for other ranks.
        if (state == ncclSuccess) ncclCommDestroy(nccl_.release());
    }

    std::string name() const override { return "NCCL"; }

    void all_reduce_sum(index_t count, double* values) override { mpi_->all_reduce_sum(count, values); }
    void all_reduce_max(index_t count, double* values) override { mpi_->all_reduce_max(count, values); }
    void broadcast(std::size_t bytes, void* data) override { mpi_->broadcast(bytes, data); }
    void all_gather(const std::vector<std::size_t>& begin, void* data) override {
        mpi_->all_gather(begin, data);
    }
    void watch(std::function<std::string()> fault, std::function<void()> before_end) override {
        mpi_->watch(std::move(fault), std::move(before_end));
    }

    std::size_t scratch_bytes(const Exec&, index_t) const override { return 0; }
    bool graph_capturable() const override { return true; }
    void all_reduce_sum(const Exec& exec, index_t count, double* values) override {
        call([&] {
            return ncclAllReduce(values, values, static_cast<std::size_t>(count), ncclDouble, ncclSum, nccl_,
                                 cuda::stream_of(exec));
        });
    }
    void all_reduce_async(const Exec& exec, index_t count, float* values, void*) override {
        GLOW_CUDA(cudaEventRecord(ready_, cuda::stream_of(exec)));
        GLOW_CUDA(cudaStreamWaitEvent(stream_, ready_, 0));
        call([&] {
            return ncclAllReduce(values, values, static_cast<std::size_t>(count), ncclFloat, ncclSum, nccl_,
                                 stream_);
        });
    }
    void finish_all_reduces(const Exec& exec) override {
        GLOW_CUDA(cudaEventRecord(done_, stream_));
        GLOW_CUDA(cudaStreamWaitEvent(cuda::stream_of(exec), done_, 0));
    }

  protected:
    void end_all(int status) override { mpi_->abort(status); }

  private:
    static void sleep_briefly() { std::this_thread::sleep_for(std::chrono::microseconds(100)); }

    // Devices are assigned round robin to the processes of a host. Slurm may show each process its own device
    // as number 0, so compare UUIDs: NCCL hangs or fails with two ranks on one device.
    void choose_device() {
        int devices = 0;
        cudaDeviceProp properties{};
        std::string problem;
        try {
            GLOW_CUDA(cudaGetDeviceCount(&devices));
            GLOW_CUDA(cudaSetDevice(device_number(group_, devices)));
            GLOW_CUDA(cudaGetDeviceProperties(&properties, device_number(group_, devices)));
        } catch (const Error& error) {
            problem = error.what();
        }
        // All ranks throw the same, because none can go on alone.
        const std::vector<std::string> problems = gather_texts(*mpi_, problem);
        for (int r = 0; r < size(); ++r)
            if (!problems[r].empty())
                throw InputError(fmt::format("rank {} on {}: {}", r, group_.hosts[r], problems[r]));
        using Id = std::array<char, sizeof(properties.uuid.bytes)>;
        std::vector<Id> ids(static_cast<std::size_t>(size()));
        std::memcpy(ids[rank()].data(), properties.uuid.bytes, sizeof(Id));
        std::vector<std::size_t> begin;
        for (int r = 0; r <= size(); ++r) begin.push_back(static_cast<std::size_t>(r) * sizeof(Id));
        mpi_->all_gather(begin, ids.data());
        for (int r = 0; r < size(); ++r)
            for (int other = 0; other < r; ++other)
                if (ids[r] == ids[other])
                    throw InputError(
                        fmt::format("ranks {} and {} on {} share one GPU ({} processes and {} visible "
                                    "devices), which NCCL does not support: "
                                    "start one process per GPU, or use --communicator mpi",
                                    other, r, group_.hosts[r], group_.local_size, devices));
    }

    void open() {
        const ScopedTimeout timeout("opening NCCL", kNcclOpeningSeconds);
        ncclUniqueId id{};
        if (is_root()) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
        mpi_->broadcast(sizeof(id), &id);
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        call([&] { return ncclCommInitRankConfig(nccl_.out(), size(), id, rank(), &config); });
    }

    // Issues a call and waits until NCCL has accepted it. A dead peer can delay that indefinitely; the
    // watchdog limits it.
    template <class F>
    void call(F f) {
        ncclResult_t state = locked(f);
        while (state == ncclInProgress) {
            sleep_briefly();
            state = locked([this] { return async_state(); });
        }
        check(state, "NCCL");
    }

    template <class F>
    ncclResult_t locked(F f) {
        const std::lock_guard lock(mutex_);
        return f();
    }

    // The error, ncclInProgress, or ncclSuccess.
    ncclResult_t async_state() const {
        ncclResult_t state = ncclSuccess;
        const ncclResult_t result = ncclCommGetAsyncError(nccl_, &state);
        return result != ncclSuccess ? result : state;
    }

    void check(ncclResult_t code, const char* what) const {
        if (code != ncclSuccess && code != ncclInProgress)
            throw Error(
                fmt::format("{} failed: {} ({})", what, ncclGetErrorString(code), ncclGetLastError(nccl_)));
    }

    // Called by the watchdog. If the other thread is in a call, its own polls report errors.
    std::string fault() {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock()) return "";
        const ncclResult_t state = async_state();
        if (state == ncclSuccess || state == ncclInProgress) return "";
        return fmt::format("NCCL: {} ({})", ncclGetErrorString(state), ncclGetLastError(nccl_));
    }

    std::unique_ptr<Communicator> mpi_;
    std::mutex mutex_;
    cuda::Handle<ncclComm_t, ncclCommAbort> nccl_;
    cuda::StreamHandle stream_;
    cuda::EventHandle ready_, done_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> mpi) {
    return std::make_unique<NcclCommunicator>(std::move(mpi));
}

}  // namespace glow
