// Communication between the processes of a run: a single process, MPI, or NCCL together with MPI.
//
// Functions that pass data are collective: all processes call the same ones in the same order with the same
// counts. If a rank dies, hangs or throws, the run ends in bounded time (runtime/watchdog.h); no function
// throws because of another process.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base.h"
#include "kernels/enum_names.h"
#include "runtime/threads.h"
#include "runtime/watchdog.h"

namespace glow {

// A process's position. Local: among the processes of the same host.
struct ProcessGroup {
    int rank = 0, size = 1;
    int local_rank = 0, local_size = 1;
    int mask_share = 0;   // processor_share() of this process (runtime/threads.h); 0: unknown
    int gpu_sharing = 0;  // processes that use this process's GPU; 0: unknown
    std::vector<std::string> hosts = {""};  // of every rank
};

// One of `size` consecutive slices of `total` items. Slice sizes differ by at most one, and rank 0 has a
// largest one. Slices may be empty.
struct Slice {
    index_t first, count;
};
Slice slice_of(index_t total, int rank, int size);
// [size + 1]: the first byte of each rank's slice, and the end of the last.
std::vector<std::size_t> slice_offsets(index_t total, int size, std::size_t item_bytes);

// The CUDA device of a process, assigned round robin to the processes of a host.
inline int device_number(const ProcessGroup& group, int devices) {
    return devices > 0 ? group.local_rank % devices : 0;
}

class Communicator {
  public:
    explicit Communicator(ProcessGroup group = {}) : group_(std::move(group)) {}
    virtual ~Communicator() = default;
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;

    const ProcessGroup& group() const { return group_; }
    int rank() const { return group_.rank; }
    int size() const { return group_.size; }
    bool is_root() const { return group_.rank == 0; }
    Slice slice(index_t total) const { return slice_of(total, rank(), size()); }
    virtual std::string name() const { return "one process"; }

    // Reductions in host memory, in place, equal on all processes afterwards. Sums are taken in rank order,
    // so they repeat bit for bit for the same number of processes. all_reduce_max treats NaN as the largest
    // value.
    virtual void all_reduce_sum(index_t count, double* values);
    virtual void all_reduce_max(index_t count, double* values);
    double all_reduce_sum(double value) {
        all_reduce_sum(1, &value);
        return value;
    }
    double all_reduce_max(double value) {
        all_reduce_max(1, &value);
        return value;
    }
    // Copies rank 0's bytes to all processes.
    virtual void broadcast(std::size_t bytes, void* data);
    // Distributes all parts of `data`, at most 2 GiB, to all processes: rank r contributes bytes begin[r] to
    // begin[r + 1] - 1.
    virtual void all_gather(const std::vector<std::size_t>& begin, void* data);
    // The same if every process has its slice() of `total` items.
    void all_gather_slices(index_t total, std::size_t item_bytes, void* data);
    void barrier() { all_reduce_sum(0); }

    // Sums over device memory, in place. all_reduce_async runs concurrently with later work of the calling
    // thread, in the order of the calls; do not use the values before finish_all_reduces(). `scratch`:
    // scratch_bytes() of device memory for the largest count, shared by all sums.
    virtual std::size_t scratch_bytes(const Exec& exec, index_t count) const;
    virtual void all_reduce_sum(const Exec& exec, index_t count, double* values);
    virtual void all_reduce_async(const Exec& exec, index_t count, float* values, void* scratch);
    virtual void finish_all_reduces(const Exec& exec);
    // Whether the three functions above can be captured in a CUDA graph (runtime/cuda_graph.h).
    virtual bool graph_capturable() const { return true; }

    // Registers two callbacks with the watchdog. fault() is polled and returns an error, or an empty string;
    // before_end() is called before the watchdog ends the process. nullptr: none.
    virtual void watch(std::function<std::string()> fault, std::function<void()> before_end);
    // Terminates all ranks with an exit status; report the error first.
    [[noreturn]] void abort(int status);

  protected:
    virtual void end_all(int) {}
    ProcessGroup group_;
};

// Bucket size for large sums: 1.7 times faster than a single call (measured).
inline constexpr index_t kBucketElements = index_t{1} << 20;

// Returns rank 0's text on all processes. Collective.
std::string broadcast_text(Communicator& processes, const std::string& mine);

// Returns every rank's text, cut after 511 bytes, on all processes. Collective.
std::vector<std::string> gather_texts(Communicator& processes, const std::string& mine);
// Throws InputError on all processes if some use a GPU and others, for `why_no_gpu`, the CPU: with --device auto each
// decides for itself. Collective.
void require_equal_devices(Communicator& processes, Device device, const std::string& why_no_gpu);
// A warning if a process has fewer threads than requested; otherwise empty. `mine`: the calling process's.
// Collective.
std::string thread_warning(Communicator& processes, const ThreadCount& mine);

enum class CommunicatorKind { automatic, mpi, nccl };
template <>
struct EnumNames<CommunicatorKind> {
    static constexpr const char* what = "communicator";
    static constexpr EnumName<CommunicatorKind> values[] = {{CommunicatorKind::automatic, "auto"},
                                                            {CommunicatorKind::mpi, "mpi"},
                                                            {CommunicatorKind::nccl, "nccl"}};
};

// automatic: MPI under a launcher of several processes, plus NCCL for CUDA devices; otherwise a single process,
// which needs neither. Throws InputError if the build does not support `kind` or the launcher belongs to
// another MPI.
//
// The watchdog watches the calling thread, which must also destroy the communicator. The environment variable
// GLOW_WATCHDOG_SECONDS is the silence after which a process counts as hung: 45 by default, 0 for never.
std::unique_ptr<Communicator> open_communicator(CommunicatorKind kind, Device device);

// The implementations. The NCCL communicator owns an MPI communicator, and each process uses the CUDA device
// device_number().
std::unique_ptr<Communicator> make_mpi_communicator(double watchdog_seconds);
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> mpi);

}  // namespace glow
