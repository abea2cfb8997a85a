#include "train/run_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "runtime/device.h"
#include "train/schedule.h"

namespace glow {
namespace {

constexpr index_t kMostUnpacked = 16;  // images unpacked per image read before a warning

}  // namespace

void fit_model(const DatasetInfo& info, TrainingOptions& options) {
    ModelConfig& model = options.model;
    model.image_height = info.H;
    model.image_width = info.W;
    model.channels = info.C;
    model.n_classes = model.y_cond ? info.n_classes : 0;
    if (model.y_cond && (!info.train_labels || (info.valid > 0 && !info.valid_labels)))
        throw InputError(fmt::format("--y-cond: {} has no labels for its {} images", options.data,
                                     info.train_labels ? "validation" : "training"));
    check(model);
}

index_t act_budget(const TrainingOptions& options, index_t resumed) {
    if (options.memory != MemoryMode::automatic || options.act_budget > 0) return options.act_budget;
    return resumed > 0 ? resumed : static_cast<index_t>(machine_memory_bytes() / 4);
}

void refuse_beyond_machine(std::size_t each, int processes) {
    const std::size_t planned = each * static_cast<std::size_t>(processes);
    const std::size_t bytes = machine_memory_bytes();
    if (planned > bytes)
        throw InputError(fmt::format(
            "the run needs {}{} but this machine has {}: use a smaller --batch, --micro-batch or model, or "
            "--memory reconstruct (--plan shows the bytes)",
            human_bytes(planned), processes > 1 ? fmt::format(" for {} processes", processes) : "",
            human_bytes(bytes)));
}

DataAccess choose_data_access(ImageAccess option, const std::string& data, std::size_t image_bytes,
                              std::size_t machine_bytes, int sharing, const ChunkInfo& chunks) {
    const bool slow = chunks.rows_unpacked > kMostUnpacked;
    const bool is_auto = option == ImageAccess::automatic;
    DataAccess access{option == ImageAccess::disk || (is_auto && image_bytes > machine_bytes / 4), ""};
    if (!access.on_disk || !slow) return access;
    const std::size_t needed = image_bytes * static_cast<std::size_t>(sharing);
    const bool fits = needed <= machine_bytes / 2;
    const std::string found = fmt::format(
        "{}: reading one image from disk unpacks compressed chunks as large as {} images ({})", data,
        chunks.rows_unpacked, human_bytes(static_cast<std::size_t>(chunks.rows_unpacked * chunks.row_bytes)));
    if (is_auto && fits) {
        access.on_disk = false;
        access.warning = fmt::format("{}; loading the images into memory instead ({} of {})", found,
                                     human_bytes(needed), human_bytes(machine_bytes));
    } else {
        access.warning = fmt::format(
            "{}, which is slow: {}rewrite the file with chunks of a few images, as glow_data does (or with h5repack "
            "-l train/images:CHUNK=16xHxWxC)",
            found, fits ? "use --data-access memory, or " : "");
    }
    return access;
}

std::string describe(const MemoryPlan& plan) {
    std::string text = "memory plan:";
    for (int i = 0; i < kCategories; ++i)
        if (plan.bytes[i] > 0)
            text += fmt::format("\n  {:<14}{:>12}", kCategoryNames[i], human_bytes(plan.bytes[i]));
    text += fmt::format("\n  {:<14}{:>12}", "total", human_bytes(total(plan.bytes)));
    if (plan.fallback_stored > at(plan.bytes, Category::stored))
        text += fmt::format("  (+ {} if drift makes a step save every state)",
                            human_bytes(plan.fallback_stored - at(plan.bytes, Category::stored)));
    text += fmt::format("\n  {:<14}{:>12.2f}  units of forward (3 with all maps saved)", "network work",
                        plan.network_units);
    for (std::size_t l = 0; l < plan.policy.last_maps.size(); ++l)
        text += fmt::format("\n  {:<14}{:>12}  steps whose maps are saved", fmt::format("level {}", l),
                            plan.policy.last_maps[l]);
    return text;
}

std::optional<StoreOffer> store_offer(const TrainingOptions& options, index_t init_images,
                                      const Backend& backend, const MemoryPlan& plan) {
    if (options.memory == MemoryMode::store) return {};
    StoreOffer offer{options, 0, 1};
    offer.options.memory = MemoryMode::store;
    const MemoryPlan stored = memory_plan(offer.options, init_images, backend, PlanScope::run);
    const auto sharing = static_cast<std::size_t>(backend.communicator().group().local_size);
    const bool fits = total(stored.bytes) * sharing <= machine_memory_bytes();
    if (!fits || stored.network_units >= plan.network_units || total(stored.bytes) < total(plan.bytes))
        return {};
    offer.more_bytes = total(stored.bytes) - total(plan.bytes);
    offer.work = stored.network_units / plan.network_units;
    return offer;
}

PlannedRun plan_run(const RunRequest& request) {
    TrainingOptions options = request.options;
    const DatasetInfo info = describe_dataset(options.data);
    check(options);
    fit_model(info, options);
    const Backend backend = Backend::for_plans(request.device, options.threads, request.processes);
    const auto sharing = static_cast<std::size_t>(backend.communicator().group().local_size);
    options.act_budget = act_budget(options, 0);
    const auto plan = [&](const TrainingOptions& planned) {
        return memory_plan(planned, make_schedule(planned, info.train).init_images, backend, PlanScope::run);
    };
    PlannedRun result{plan(options), machine_memory_bytes(), 0, 0, {}};
    result.store = store_offer(options, make_schedule(options, info.train).init_images, backend, result.plan);
    const auto largest = [&](index_t most, auto&& with) {
        return largest_that_fits(most, [&](index_t x) {
            TrainingOptions larger = options;
            with(larger, x);
            return total(plan(larger).bytes) * sharing <= result.machine_bytes;
        });
    };
    // The batch passed at once: with micro-batches, any batch fits if one micro-batch does.
    result.largest_batch = largest(1 << 24, [](TrainingOptions& o, index_t x) {
        o.batch = x;
        o.micro_batch = 0;
    });
    result.largest_depth = largest(1 << 12, [](TrainingOptions& o, index_t x) { o.model.depth = x; });
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
