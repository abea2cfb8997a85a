// The processes of a run, the last of the narrow interfaces: one process, MPI, or NCCL beside MPI.
//
// All functions below that pass data between processes are collective: every process calls the same ones in
// the same order with the same counts. If a rank dies, hangs or throws, the run ends in bounded time
// (runtime/watchdog.h); no function throws because of another process.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base.h"
#include "runtime/watchdog.h"

namespace glow {

// Who a process is among the others. Local: among those on the same host.
struct ProcessGroup {
    int rank = 0, size = 1;
    int local_rank = 0, local_size = 1;
    std::vector<std::string> hosts = {""};  // of every rank
};

// The part of `total` items that belongs to one of `size` processes: consecutive, their numbers differ by one
// at most, and rank 0 has one of the largest parts. Parts may be empty.
struct Slice {
    index_t first, count;
};
Slice slice_of(index_t total, int rank, int size);
// [size + 1]: the byte where the slice of each rank begins, and where the last one ends.
std::vector<std::size_t> slice_offsets(index_t total, int size, std::size_t item_bytes);

// The CUDA device of a process, of those that it sees: the processes of a host take them in turn.
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

    // Host memory, in place, afterwards equal on all processes. Sums are taken in the order of the ranks, so
    // they repeat bit for bit for the same number of processes. In all_reduce_max NaN is larger than everything.
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
    // Rank 0's bytes to all.
    virtual void broadcast(std::size_t bytes, void* data);
    // All parts of `data`, at most 2 GiB, to all processes: rank r has bytes begin[r] to begin[r + 1] - 1.
    virtual void all_gather(const std::vector<std::size_t>& begin, void* data);
    // Where every process has its share() of `total` items.
    void all_gather_slices(index_t total, std::size_t item_bytes, void* data);
    void barrier() { all_reduce_sum(0); }

    // Sums over device memory, in place. With all_reduce_async they run beside what the calling thread does
    // next, one after the other; the values must be left alone until finish_all_reduces(). `scratch` is
    // scratch_bytes() of device memory for the largest count, shared by all sums.
    virtual std::size_t scratch_bytes(const Exec& exec, index_t count) const;
    virtual void all_reduce_sum(const Exec& exec, index_t count, double* values);
    virtual void all_reduce_async(const Exec& exec, index_t count, float* values, void* scratch);
    virtual void finish_all_reduces(const Exec& exec);
    // Whether the last three may be recorded with the launches around them (runtime/recording.h).
    virtual bool graph_capturable() const { return true; }

    // For the watchdog: what to check on every turn, and what to do before it ends the process. nullptr: nothing.
    virtual void watch(std::function<std::string()> fault, std::function<void()> before_end);
    // Ends all processes with an exit status; what was wrong should have been told. With one process, this
    // one.
    [[noreturn]] void abort(int status);

  protected:
    virtual void end_all(int) {}
    ProcessGroup group_;
};

// Elements of the pieces in which large sums are best started: measured 1.7 times faster than one call.
inline constexpr index_t kBucketElements = index_t{1} << 20;

// The text of rank 0. Collective.
std::string broadcast_text(Communicator& processes, const std::string& mine);

// kind: auto (under a launcher MPI, for CUDA devices NCCL beside it, else one process), mpi, nccl. Throws
// InputError where the build lacks it or the launcher belongs to another MPI. GLOW_WATCHDOG_SECONDS: silence
// after which a process counts as hung, 45 unless set; 0: never. The watchdog watches the calling thread, which
// must destroy the communicator.
std::unique_ptr<Communicator> open_communicator(const std::string& kind, Device device);

// Its parts. NCCL takes over an MPI communicator; its processes have a CUDA device each, device_number().
std::unique_ptr<Communicator> make_mpi_communicator(double watchdog_seconds);
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> mpi);

}  // namespace glow
