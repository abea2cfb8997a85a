#include "train/memory_fit.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"

namespace glow {
namespace {

constexpr const char* kAdvice =
    "use a smaller --batch, --micro-batch or model, or --memory reconstruct (--plan shows the bytes, and "
    "--max-memory fits a run to a budget)";
// CUDA's context and libraries: 180 MiB on an H200
constexpr std::size_t kGpuLibraryBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxSaved = std::size_t{1} << 46;  // bytes of maps

}  // namespace

index_t default_act_budget(Device device, const ProcessGroup& group) {
    std::size_t bytes = memory_limit_bytes();
    int sharing = group.local_size;
    if (device == Device::cuda && device_bytes() > 0) {  // plans need no GPU
        bytes = device_bytes();
        // A launcher may show every process a GPU of its own as the only one.
        const int devices = cuda::device_count();
        sharing = group.gpu_sharing > 0 ? group.gpu_sharing : (sharing + devices - 1) / devices;
    }
    return static_cast<index_t>(bytes / 4) / sharing;
}

void reuse_recorded_sizes(TrainingOptions& options, const TrainingOptions* resumed, Device device,
                          const ProcessGroup& group) {
    if (options.max_memory > 0) {  // fit_memory() chooses what `auto` saves
        if (resumed != nullptr && options.micro_batch == 0) options.micro_batch = resumed->micro_batch;
        return;
    }
    if (options.memory != MemoryMode::automatic || options.act_budget > 0) return;
    options.act_budget = resumed != nullptr && resumed->act_budget > 0 ? resumed->act_budget
                                                                       : default_act_budget(device, group);
}

std::size_t fallback_bytes(const MemoryPlan& plan) {
    return plan.fallback_stored - std::min(plan.fallback_stored, at(plan.bytes, Category::stored));
}

MemoryLimit gpu_memory_limit() {
    const std::size_t all = device_bytes();
    return {all - std::min(all, kGpuLibraryBytes), "not counting CUDA's own memory, the GPU has"};
}

std::string memory_problem(const std::string& needed, const MemoryLimit& limit) {
    return fmt::format("the run needs {}, but {} {}: {}", needed, limit.source, format_bytes(limit.bytes),
                       kAdvice);
}

std::string memory_problem(std::size_t each, int processes, std::size_t more) {
    const std::size_t planned = each * static_cast<std::size_t>(processes);
    if (const MemoryLimit host = host_memory_limit(); planned > host.bytes)
        return memory_problem(
            format_bytes(planned) + (processes > 1 ? fmt::format(" for {} processes", processes) : ""), host);
    const std::size_t mapped = each + more + kLibraryBytes;
    if (const MemoryLimit own = process_memory_limit(); mapped > own.bytes)
        return memory_problem(format_bytes(mapped), own);
    return "";
}

void fit_memory(TrainingOptions& options, const std::function<MemoryPlan(const TrainingOptions&)>& plan,
                const ProcessGroup& group, Device device, std::size_t image_bytes) {
    if (options.max_memory == 0) return;
    // Libraries and stacks: 70 MiB were measured on a CPU, and 180 MiB with CUDA's context on an H200.
    const bool on_cpu = device == Device::cpu;
    const std::size_t other_bytes = on_cpu ? (std::size_t{128} << 20) + image_bytes : kGpuLibraryBytes;
    const auto each = static_cast<std::size_t>(options.max_memory) /
                      static_cast<std::size_t>(on_cpu ? group.local_size : 1);
    TrainingOptions fitted = options;
    const auto needed = [&] { return total(plan(fitted).bytes) + other_bytes; };
    const bool is_auto = options.memory == MemoryMode::automatic;
    const index_t most_saved =
        options.act_budget > 0 ? options.act_budget : static_cast<index_t>(std::min(each, kMaxSaved));
    if (is_auto) fitted.act_budget = 1;  // no map
    index_t pass = images_per_pass(options, group.size);
    while (needed() > each) {
        if (pass == 1 || options.fused_update)
            throw InputError(fmt::format(
                "--max-memory {}: a process needs {}{}: use a smaller model{}",
                format_bytes(static_cast<std::size_t>(options.max_memory)), format_bytes(needed()),
                on_cpu && group.local_size > 1 ? fmt::format(", and {} share it", group.local_size) : "",
                options.fused_update ? ", a smaller --batch, or --no-fused-update for micro-batches"
                : is_auto            ? ""
                                     : " or --memory auto"));
        pass = (pass + 1) / 2;
        fitted.micro_batch = pass;
    }
    if (is_auto) {
        // Search in whole MiB: fine enough, because `auto` saves whole steps of flow.
        constexpr index_t kMiB = index_t{1} << 20;
        const index_t best = largest_that_fits(std::max<index_t>(1, most_saved / kMiB), [&](index_t x) {
            fitted.act_budget = x * kMiB;
            return needed() <= each;
        });
        fitted.act_budget = std::max<index_t>(1, best * kMiB);
    }
    options = fitted;
}

index_t largest_that_fits(index_t most, const std::function<bool(index_t)>& fits) {
    if (!fits(1)) return 0;
    index_t good = 1, bad = 2;
    while (bad <= most && fits(bad)) {
        good = bad;
        bad *= 2;
    }
    bad = std::min(bad, most + 1);
    while (bad - good > 1) {
        const index_t middle = good + (bad - good) / 2;
        (fits(middle) ? good : bad) = middle;
    }
    return good;
}

}  // namespace glow
