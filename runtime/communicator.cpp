#include "runtime/communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "kernels/error.h"
#include "runtime/device.h"
#include "runtime/launcher.h"

namespace glow {

Slice slice_of(index_t total, int rank, int size) {
    const index_t each = total / size, more = total % size;
    return {rank * each + std::min<index_t>(rank, more), each + (rank < more ? 1 : 0)};
}

std::vector<std::size_t> slice_offsets(index_t total, int size, std::size_t item_bytes) {
    std::vector<std::size_t> offsets;
    for (int rank = 0; rank < size; ++rank)
        offsets.push_back(static_cast<std::size_t>(slice_of(total, rank, size).first) * item_bytes);
    offsets.push_back(static_cast<std::size_t>(total) * item_bytes);
    return offsets;
}

// A single process needs no communication.
void Communicator::all_reduce_sum(index_t, double*) {}
void Communicator::all_reduce_max(index_t, double*) {}
void Communicator::broadcast(std::size_t, void*) {}
void Communicator::all_gather(const std::vector<std::size_t>&, void*) {}
std::size_t Communicator::scratch_bytes(const Exec&, index_t) const {
    return 0;
}
void Communicator::all_reduce_sum(const Exec&, index_t, double*) {}
void Communicator::all_reduce_async(const Exec&, index_t, float*, void*) {}
void Communicator::finish_all_reduces(const Exec&) {}
void Communicator::watch(std::function<std::string()>, std::function<void()>) {}
void Communicator::abort(int status) {
    end_all(status);
    std::_Exit(status);
}

void Communicator::all_gather_slices(index_t total, std::size_t item_bytes, void* data) {
    all_gather(slice_offsets(total, size(), item_bytes), data);
}

std::string broadcast_text(Communicator& processes, const std::string& mine) {
    std::size_t length = mine.size();
    processes.broadcast(sizeof(length), &length);
    std::string text = mine;
    text.resize(length);
    processes.broadcast(length, text.data());
    return text;
}

namespace {

double watchdog_seconds() {
    const char* const text = std::getenv("GLOW_WATCHDOG_SECONDS");
    if (text == nullptr) return 45;
    double seconds = 0;
    const char* const end = text + std::strlen(text);
    const auto [read, error] = std::from_chars(text, end, seconds);
    if (error != std::errc() || read != end || !(seconds == 0 || (seconds >= 1 && seconds <= 1e6)))
        throw InputError(fmt::format("GLOW_WATCHDOG_SECONDS={}: expected 0 (off) or 1 to 1e6 seconds", text));
    return seconds;
}

// Otherwise each process would train alone, into the same folder.
void require_launched_by_mpi(const Launch& launch, int mpi_size) {
    if (launch.launcher.empty() || (launch.size == 0 ? mpi_size > 1 : mpi_size == launch.size)) return;
    const std::string started = launch.size > 0 ? fmt::format("{} processes", launch.size)
                                                : fmt::format("this process (rank {})", launch.rank);
    throw InputError(fmt::format(
        "{} started {}, but MPI sees {}: use the launcher of the MPI that this program was built with (its "
        "mpirun, or srun --mpi=pmix or pmi2; srun --mpi=list shows what there is); for a single process, unset {}",
        launch.launcher, started, mpi_size, launch.variable));
}

}  // namespace

std::vector<std::string> gather_texts(Communicator& processes, const std::string& mine) {
    constexpr std::size_t kBytes = 512;
    const auto size = static_cast<std::size_t>(processes.size());
    std::vector<char> all(size * kBytes);
    mine.copy(&all[static_cast<std::size_t>(processes.rank()) * kBytes], kBytes - 1);
    std::vector<std::size_t> begin;
    for (std::size_t r = 0; r <= size; ++r) begin.push_back(r * kBytes);
    processes.all_gather(begin, all.data());
    std::vector<std::string> texts;
    for (std::size_t r = 0; r < size; ++r) texts.emplace_back(&all[r * kBytes]);
    return texts;
}

void require_equal_devices(Communicator& processes, Device device, const std::string& why_no_gpu) {
    const std::string mine = device == Device::cuda ? ""
                             : why_no_gpu.empty()   ? "it was started with --device cpu"
                                                    : why_no_gpu;
    const std::vector<std::string> reasons = gather_texts(processes, mine);
    const auto on_cpu =
        std::find_if(reasons.begin(), reasons.end(), [](const auto& r) { return !r.empty(); });
    const auto on_gpu = std::find(reasons.begin(), reasons.end(), "");
    if (on_cpu == reasons.end() || on_gpu == reasons.end()) return;
    const auto name = [&](auto at) {
        const auto rank = at - reasons.begin();
        return fmt::format("rank {} on {}", rank, processes.group().hosts[static_cast<std::size_t>(rank)]);
    };
    throw InputError(fmt::format("{} uses a GPU, but {} the CPU: {}; all ranks need the same --device",
                                 name(on_gpu), name(on_cpu), *on_cpu));
}

std::string thread_warning(Communicator& processes, const ThreadCount& mine) {
    const std::vector<std::string> all =
        gather_texts(processes, mine.fewer_than_requested() ? "threads " + describe(mine) : "");
    const auto fewer = [](const std::string& text) { return !text.empty(); };
    const auto first = std::find_if(all.begin(), all.end(), fewer);
    if (first == all.end() || processes.size() == 1) return all[0];
    const auto rank = static_cast<std::size_t>(first - all.begin());
    const auto more = std::count_if(first + 1, all.end(), fewer);
    return fmt::format("{} on rank {} on {}{}", *first, rank, processes.group().hosts[rank],
                       more > 0 ? fmt::format(" and {} more rank{}", more, more == 1 ? "" : "s") : "");
}

std::unique_ptr<Communicator> open_communicator(CommunicatorKind kind, Device device) {
    if (kind == CommunicatorKind::nccl && device != Device::cuda)
        throw InputError("--communicator nccl: it connects CUDA devices; use --communicator mpi on the CPU");
    const Launch launch = detect_launch();
    if (kind == CommunicatorKind::automatic && launch.is_one_process())
        return std::make_unique<Communicator>();

    std::unique_ptr<Communicator> mpi = make_mpi_communicator(watchdog_seconds());
    require_launched_by_mpi(launch, mpi->size());
    require_equal_devices(*mpi, device, cuda_problem());
    if (device != Device::cuda || kind == CommunicatorKind::mpi) return mpi;
    return make_nccl_communicator(std::move(mpi));
}

}  // namespace glow
