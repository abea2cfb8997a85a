#include "train/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"
#include "runtime/openblas.h"
#include "train/resume.h"
#include "train/schedule.h"

namespace glow {
namespace {

constexpr const char* kAdvice =
    "use a smaller --batch, --micro-batch or model, or --memory reconstruct (--plan shows the bytes, and "
    "--max-memory fits a run to a budget)";
constexpr std::size_t kGpuLibraryBytes = std::size_t{256}
                                         << 20;  // CUDA's context and libraries: 180 MiB on an H200

constexpr index_t kMaxUnpacked = 16;                     // images unpacked per image read before a warning
constexpr std::size_t kMaxSaved = std::size_t{1} << 46;  // bytes of maps

std::size_t image_bytes_in_memory(const DatasetInfo& info, const TrainingOptions& options,
                                  const ProcessGroup& group) {
    const auto bytes = static_cast<std::size_t>((info.train + info.valid) * info.H * info.W * info.C);
    return choose_data_access(options.data_access, options.data, bytes, memory_limit_bytes(),
                              group.local_size, {})
                   .on_disk
               ? 0
               : bytes;
}

// The run that the request resumes, as run_training() finds it.
std::optional<ResumedRun> run_to_resume(RunRequest request) {
    if (!request.resume) return {};
    if (!request.info) request.info = [](const std::string&) {};
    if (!request.warn) request.warn = request.info;
    return find_run_to_resume(request, RunFolder(request.options.out));
}

}  // namespace

void fit_model(const DatasetInfo& info, TrainingOptions& options) {
    ModelConfig& model = options.model;
    model.image_height = info.H;
    model.image_width = info.W;
    model.channels = info.C;
    model.n_classes = model.y_cond ? info.n_classes : 0;
    if (options.dequant == Dequantization::variational && model.dequant_depth == 0) model.dequant_depth = 4;
    if (model.y_cond && (!info.train_labels || (info.valid > 0 && !info.valid_labels)))
        throw InputError(fmt::format("--y-cond: {} has no labels for its {} images", options.data,
                                     info.train_labels ? "validation" : "training"));
    check(model);
}

index_t default_act_budget(Device device, const ProcessGroup& group) {
    std::size_t bytes = memory_limit_bytes();
    int sharing = group.local_size;
    if (device == Device::cuda && device_bytes() > 0) {  // plans need no GPU
        bytes = device_bytes();
        const int devices = cuda::device_count();
        sharing = (sharing + devices - 1) / devices;
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

std::string memory_problem(std::size_t each, int processes, std::size_t more) {
    const std::size_t planned = each * static_cast<std::size_t>(processes);
    if (const MemoryLimit host = host_memory_limit(); planned > host.bytes)
        return fmt::format("the run needs {}{}, but {} {}: {}", format_bytes(planned),
                           processes > 1 ? fmt::format(" for {} processes", processes) : "", host.source,
                           format_bytes(host.bytes), kAdvice);
    const std::size_t mapped = each + more + kLibraryBytes;
    if (const MemoryLimit own = process_memory_limit(); mapped > own.bytes)
        return fmt::format("the run needs {}, but {} {}: {}", format_bytes(mapped), own.source,
                           format_bytes(own.bytes), kAdvice);
    return "";
}

void fit_memory(TrainingOptions& options, const std::function<MemoryPlan(const TrainingOptions&)>& plan,
                const ProcessGroup& group, Device device, std::size_t image_bytes) {
    if (options.max_memory == 0) return;
    // Libraries and stacks: 70 MiB were measured on a CPU, and 180 MiB with CUDA's context on an H200.
    const bool on_cpu = device == Device::cpu;
    const std::size_t besides = on_cpu ? (std::size_t{128} << 20) + image_bytes : kGpuLibraryBytes;
    const auto each = static_cast<std::size_t>(options.max_memory) /
                      static_cast<std::size_t>(on_cpu ? group.local_size : 1);
    TrainingOptions fitted = options;
    const auto needed = [&] { return total(plan(fitted).bytes) + besides; };
    const bool is_auto = options.memory == MemoryMode::automatic;
    const index_t most_saved =
        options.act_budget > 0 ? options.act_budget : static_cast<index_t>(std::min(each, kMaxSaved));
    if (is_auto) fitted.act_budget = 1;  // no map
    index_t pass = slice_of(options.batch, 0, group.size).count;
    if (options.micro_batch > 0) pass = std::min(pass, options.micro_batch);
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

bool unpacks_many_images(const ChunkInfo& chunks) {
    return chunks.rows_unpacked > kMaxUnpacked;
}

DataAccess choose_data_access(ImageAccess option, const std::string& data, std::size_t image_bytes,
                              std::size_t machine_bytes, int sharing, const ChunkInfo& chunks) {
    const bool slow = unpacks_many_images(chunks);
    const bool is_auto = option == ImageAccess::automatic;
    DataAccess access{option == ImageAccess::disk || (is_auto && image_bytes > machine_bytes / 4), ""};
    if (!access.on_disk || !slow) return access;
    const std::size_t needed = image_bytes * static_cast<std::size_t>(sharing);
    const bool fits = needed <= machine_bytes / 2;
    const std::string found =
        fmt::format("{}: reading one image from disk unpacks compressed chunks as large as {} images ({})",
                    data, chunks.rows_unpacked,
                    format_bytes(static_cast<std::size_t>(chunks.rows_unpacked * chunks.row_bytes)));
    if (is_auto && fits) {
        access.on_disk = false;
        access.warning = fmt::format("{}; loading the images into memory instead ({} of {})", found,
                                     format_bytes(needed), format_bytes(machine_bytes));
    } else {
        access.warning = fmt::format(
            "{}, which is slow: {}rewrite the file with chunks of a few images, as glow_data does (or with h5repack "
            "-l SPLIT/images:CHUNK=16xHxWxC)",
            found, fits ? "use --data-access memory, or " : "");
    }
    return access;
}

std::string describe(const MemoryPlan& plan) {
    std::string text = "memory plan:";
    for (int i = 0; i < kCategories; ++i)
        if (plan.bytes[i] > 0)
            text += fmt::format("\n  {:<14}{:>12}", kCategoryNames[i], format_bytes(plan.bytes[i]));
    text += fmt::format("\n  {:<14}{:>12}", "total", format_bytes(total(plan.bytes)));
    if (plan.fallback_stored > at(plan.bytes, Category::stored))
        text += fmt::format("  (+ {} if drift makes a step save every state)",
                            format_bytes(plan.fallback_stored - at(plan.bytes, Category::stored)));
    text += fmt::format("\n  {:<14}{:>12.2f}  units of forward (3 with all maps saved)", "network work",
                        plan.network_units);
    for (std::size_t l = 0; l < plan.policy.last_maps.size(); ++l)
        text += fmt::format("\n  {:<14}{:>12}  steps whose maps are saved", fmt::format("level {}", l),
                            plan.policy.last_maps[l]);
    return text;
}

std::optional<StoreAlternative> store_alternative(const TrainingOptions& options, index_t init_images,
                                                  const Backend& backend, const MemoryPlan& plan) {
    if (options.memory == MemoryMode::store) return {};
    StoreAlternative offer{options, 0, 1};
    offer.options.memory = MemoryMode::store;
    const MemoryPlan stored = memory_plan(offer.options, init_images, backend, PlanScope::run);
    const auto sharing = static_cast<std::size_t>(backend.communicator().group().local_size);
    const bool fits = total(stored.bytes) * sharing <= host_memory_limit().bytes;
    if (!fits || stored.network_units >= plan.network_units || total(stored.bytes) < total(plan.bytes))
        return {};
    offer.more_bytes = total(stored.bytes) - total(plan.bytes);
    offer.work = stored.network_units / plan.network_units;
    return offer;
}

std::string describe(const PlannedRun& planned) {
    const int processes = planned.group.size, local = planned.group.local_size;
    const TrainingOptions& o = planned.options;
    std::string text = describe(planned.plan);
    if (processes > 1) {
        text.insert(std::string_view("memory plan").size(),
                    fmt::format(" of each of {} processes", processes));
        text += fmt::format("\n{} processes on this host: {}", local,
                            format_bytes(total(planned.plan.bytes) * static_cast<std::size_t>(local)));
    }
    if (o.max_memory > 0)
        text += fmt::format(
            "\nchosen for --max-memory {}: {}{}", format_bytes(static_cast<std::size_t>(o.max_memory)),
            o.micro_batch > 0 ? fmt::format("micro-batches of {}", o.micro_batch) : "the whole batch at once",
            o.memory == MemoryMode::automatic
                ? fmt::format(", {} stored for backward",
                              format_bytes(at(planned.plan.bytes, Category::stored)))
                : "");
    if (planned.limit.bytes > 0)
        text += fmt::format("\n{} {}", planned.limit.source, format_bytes(planned.limit.bytes));
    if (planned.largest_batch >= planned.train_images)
        text += fmt::format("; a batch of all {} training images fits too", planned.train_images);
    else if (planned.largest_batch > 0)
        text += fmt::format("; the largest --batch{} that fits is {}",
                            processes > 1 ? " of all processes" : "", planned.largest_batch);
    if (planned.largest_depth > 0 && planned.largest_depth < kMaxDepth)
        text += fmt::format("; the largest --depth that fits is {}", planned.largest_depth);
    if (planned.store)
        text +=
            fmt::format("\n--memory store: {:.0f}% less network work with {} more (--estimate measures it)",
                        100 * (1 - planned.store->work), format_bytes(planned.store->more_bytes));
    return text;
}

PlannedRun plan_run(const RunRequest& request) {
    PlannedRun result;
    TrainingOptions& options = result.options = request.options;
    const DatasetInfo info = describe_dataset(options.data);
    check(options);
    fit_model(info, options);
    const std::optional<ResumedRun> resumed = run_to_resume(request);
    if (resumed && options.threads == 0) options.threads = resumed->options.threads;
    const Backend backend = Backend::for_plans(request.device, options.threads, request.processes);
    result.group = backend.communicator().group();
    result.train_images = info.train;
    const bool on_cpu = request.device == Device::cpu;
    const bool initializes = !resumed && request.init_from.empty();
    const auto init_images = [&](const TrainingOptions& planned) {
        return initializes ? make_schedule(planned, info.train).init_images : 0;
    };
    const MemoryLimit own = process_memory_limit();
    if (own.bytes < kLibraryBytes)
        throw InputError(fmt::format("planning needs {}, but {} {}", format_bytes(kLibraryBytes), own.source,
                                     format_bytes(own.bytes)));
    const auto plan = [&](const TrainingOptions& planned) {
        return memory_plan(planned, init_images(planned), backend, PlanScope::run);
    };
    reuse_recorded_sizes(options, resumed ? &resumed->options : nullptr, request.device, result.group);
    fit_memory(options, plan, result.group, request.device,
               image_bytes_in_memory(info, options, result.group));
    result.plan = plan(options);
    result.store = store_alternative(options, init_images(options), backend, result.plan);
    const auto sharing = static_cast<std::size_t>(result.group.local_size);
    if (on_cpu) {
        const std::size_t more = blas_buffer_bytes(backend.exec().threads) + fallback_bytes(result.plan);
        result.problem = memory_problem(total(result.plan.bytes), result.group.local_size, more);
        result.limit = host_memory_limit();
        if (own.bytes < result.limit.bytes / sharing) {
            const std::size_t left = own.bytes - std::min(own.bytes, more + kLibraryBytes);
            result.limit = {left * sharing, own.source + " for its arenas, and all of this host together"};
            if (sharing == 1) result.limit.source = own.source + " for its arenas";
        }
    } else {
        const std::size_t all = device_bytes();  // 0 without a GPU
        result.limit = {all - std::min(all, kGpuLibraryBytes), "besides CUDA's own memory the GPU has"};
        if (const std::size_t needed = total(result.plan.bytes); all > 0 && needed > result.limit.bytes)
            result.problem = fmt::format("the run needs {}, but {} {}: {}", format_bytes(needed),
                                         result.limit.source, format_bytes(result.limit.bytes), kAdvice);
    }
    // Skip the search if `ulimit` limits this process: planning many sizes takes memory for oneDNN's code.
    if (result.limit.bytes == 0 || !own.source.empty()) return result;
    const auto largest = [&](index_t most, auto&& with) {
        return largest_that_fits(most, [&](index_t x) {
            TrainingOptions larger = options;
            with(larger, x);
            return total(plan(larger).bytes) * (on_cpu ? sharing : 1) <= result.limit.bytes;
        });
    };
    // Without micro-batches, because with them any batch fits if one micro-batch does.
    result.largest_batch = largest(std::max<index_t>(1, std::min<index_t>(info.train, 1 << 24)),
                                   [](TrainingOptions& o, index_t x) {
                                       o.batch = x;
                                       o.micro_batch = 0;
                                   });
    result.largest_depth = largest(kMaxDepth, [](TrainingOptions& o, index_t x) { o.model.depth = x; });
    return result;
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
