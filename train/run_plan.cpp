#include "train/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "inference/data_access.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"
#include "runtime/openblas.h"
#include "train/memory_fit.h"
#include "train/resume.h"
#include "train/schedule.h"

namespace glow {
namespace {

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

// Sets the limit and the problem, from the plan. own: the limit of this process.
void find_limit(Device device, int threads, const MemoryLimit& own, PlannedRun& result) {
    const std::size_t needed = total(result.plan.bytes);
    if (device != Device::cpu) {
        result.limit = gpu_memory_limit();
        if (device_bytes() > 0 && needed > result.limit.bytes)
            result.problem = memory_problem(format_bytes(needed), result.limit);
        return;
    }
    const auto sharing = static_cast<std::size_t>(result.group.local_size);
    const std::size_t more = blas_buffer_bytes(threads) + fallback_bytes(result.plan);
    result.problem = memory_problem(needed, result.group.local_size, more);
    result.limit = host_memory_limit();
    if (own.bytes < result.limit.bytes / sharing) {
        const std::size_t left = own.bytes - std::min(own.bytes, more + kLibraryBytes);
        result.limit = {left * sharing,
                        fmt::format("{} {} for its arenas; together the processes of this host have",
                                    own.source, format_bytes(left))};
        if (sharing == 1) result.limit.source = own.source + ", for its arenas,";
    }
}

// Sets the largest batch and depth that fit in the limit.
void search_largest(const std::function<MemoryPlan(const TrainingOptions&)>& plan, Device device,
                    PlannedRun& result) {
    const auto sharing = static_cast<std::size_t>(device == Device::cpu ? result.group.local_size : 1);
    const auto largest = [&](index_t most, auto&& with) {
        return largest_that_fits(most, [&](index_t x) {
            TrainingOptions larger = result.options;
            with(larger, x);
            return total(plan(larger).bytes) * sharing <= result.limit.bytes;
        });
    };
    // Without micro-batches, because with them any batch fits if one micro-batch does.
    result.largest_batch = largest(std::max<index_t>(1, std::min<index_t>(result.train_images, 1 << 24)),
                                   [](TrainingOptions& o, index_t x) {
                                       o.batch = x;
                                       o.micro_batch = 0;
                                   });
    result.largest_depth = largest(kMaxDepth, [](TrainingOptions& o, index_t x) { o.model.depth = x; });
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
        text += fmt::format("; a batch of all {} fits too", counted(planned.train_images, "training image"));
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
    std::optional<TrainingOptions> recorded;
    if (resumed)
        recorded =
            resumed->options_for(request.processes != nullptr ? request.processes->group() : ProcessGroup());
    if (recorded && options.threads == 0) options.threads = recorded->threads;
    const Backend backend = Backend::for_plans(request.device, options.threads, request.processes);
    result.group = backend.communicator().group();
    result.train_images = info.train;
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
    reuse_recorded_sizes(options, recorded ? &*recorded : nullptr, request.device, result.group);
    fit_memory(options, plan, result.group, request.device,
               image_bytes_in_memory(info, options, result.group));
    result.plan = plan(options);
    result.store = store_alternative(options, init_images(options), backend, result.plan);
    find_limit(request.device, backend.exec().threads, own, result);
    // Skip the search if `ulimit` limits this process: planning many sizes takes memory for oneDNN's code.
    if (result.limit.bytes == 0 || !own.source.empty()) return result;
    search_largest(plan, request.device, result);
    return result;
}

}  // namespace glow
