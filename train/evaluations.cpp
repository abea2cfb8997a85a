#include "train/evaluations.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "data/formats/input_path.h"

namespace glow {

namespace fs = std::filesystem;

std::string evaluation_row(index_t step, const Mean& mean, const std::string& weights) {
    const std::string error = mean.error() ? fmt::format("{:.6g}", *mean.error()) : "";
    return fmt::format("{},valid,{:.9g},{},{},{}", step, mean.value, error, mean.count, weights);
}

Evaluated read_evaluations(const RunFolder& folder, index_t at_step) {
    Evaluated found;
    std::vector<std::pair<index_t, double>> averaged;  // steps, and bits/dim of EMA weights
    const fs::path file = folder.evaluations();
    std::istringstream rows(is_present(file) ? read_file(file) : "");
    for (std::string row; std::getline(rows, row);) {
        std::string_view rest = row;
        const auto cell = [&rest] {
            const std::string_view text = rest.substr(0, rest.find(','));
            rest.remove_prefix(std::min(text.size() + 1, rest.size()));
            return text;
        };
        // Not by the C library, whose decimal point the caller of the Python module may have changed.
        const auto read = [&cell](auto& number) {
            const std::string_view text = cell();
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
            return error == std::errc() && end == text.data() + text.size();
        };
        const auto read_error = [&](double& number) {
            if (!rest.starts_with(',')) return read(number);
            cell();  // empty: of a single image
            return true;
        };
        index_t step = 0;
        Mean mean{};
        if (!read(step) || cell() != "valid" || !read(mean.value) || !read_error(mean.standard_error) ||
            !read(mean.count))
            continue;
        const std::string_view weights = cell();
        if ((weights != "ema" && weights != "raw") || step > at_step) continue;
        const bool ema = weights == "ema";
        if (ema) averaged.emplace_back(step, mean.value);
        if (step == at_step) (ema ? found.ema : found.raw) = mean;
    }
    // After the run went back, best.h5 may point to a checkpoint that the run is about to replace.
    std::error_code ignored;
    found.best_step = RunFolder::step_of(folder.best());
    const bool has_best =
        fs::exists(folder.best(), ignored) && (!found.best_step || *found.best_step <= at_step);
    const bool unknown_best = has_best && !found.best_step;
    // best.h5 may be a copy, and the only checkpoint of its step.
    const std::optional<index_t> linked = has_best ? found.best_step : std::nullopt;
    found.best_step.reset();
    // The run may have been killed before best.h5 was linked, so every checkpoint is a candidate.
    for (const auto& [step, bits_per_dim] : averaged) {
        if (!(bits_per_dim < found.best_bits_per_dim)) continue;
        if (!unknown_best && step != linked && !fs::exists(folder.checkpoint(step), ignored)) continue;
        found.best_bits_per_dim = bits_per_dim;
        if (!unknown_best) found.best_step = step;
    }
    if (!found.best_step) found.best_step = linked;
    return found;
}

}  // namespace glow
