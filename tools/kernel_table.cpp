#include "tools/kernel_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace glow {

std::vector<KernelRow> kernel_table(const std::vector<KernelRecord>& records,
                                    const std::vector<Launch>& launches, double passes) {
    std::map<std::string, std::map<std::string, KernelRow>> rows;  // by launch ("": unknown) and kernel
    std::vector<double> seconds(launches.size());                  // of all kernels of a launch
    std::vector<std::pair<double, std::string>> slowest(launches.size());  // kernel of a launch
    for (const KernelRecord& record : records) {
        const bool marked = record.mark > 0 && record.mark <= launches.size();
        const std::string kernel = short_kernel_name(record.name);
        KernelRow& row = rows[marked ? launches[record.mark - 1].name : ""][kernel];
        row.name = marked ? launches[record.mark - 1].name + " " + kernel : kernel;
        row.calls += 1 / passes;
        row.seconds += record.seconds / passes;
        if (!marked) continue;
        seconds[record.mark - 1] += record.seconds;
        slowest[record.mark - 1] = std::max(slowest[record.mark - 1], std::pair{record.seconds, kernel});
    }
    for (std::size_t i = 0; i < launches.size(); ++i) {
        if (launches[i].bytes <= 0 || seconds[i] <= 0) continue;
        KernelRow& row = rows[launches[i].name][slowest[i].second];
        row.bytes += launches[i].bytes / passes;
        row.seconds_of_bytes += seconds[i] / passes;
    }
    std::vector<KernelRow> table;
    for (auto& [name, kernels] : rows)
        for (auto& [kernel, row] : kernels) table.push_back(std::move(row));
    std::stable_sort(table.begin(), table.end(),
                     [](const KernelRow& a, const KernelRow& b) { return a.seconds > b.seconds; });
    return table;
}

std::string describe(const std::vector<KernelRow>& rows, double bandwidth) {
    KernelRow sum;
    for (const KernelRow& row : rows) {
        sum.calls += row.calls;
        sum.seconds += row.seconds;
    }
    std::string text = fmt::format("{:>9} {:>6} {:>8} {:>9} {:>9} {:>6}  kernel\n", "ms", "share", "calls",
                                   "us each", "MB each", "of bw");
    for (const KernelRow& row : rows) {
        std::string bytes, share;
        if (row.bytes > 0) {
            bytes = fmt::format("{:.2f}", row.bytes / row.calls * 1e-6);
            share = fmt::format("{:.2f}", row.bytes / row.seconds_of_bytes / bandwidth);
        }
        text += fmt::format("{:9.3f} {:6.3f} {:8.1f} {:9.2f} {:>9} {:>6}  {}\n", row.seconds * 1e3,
                            row.seconds / sum.seconds, row.calls, row.seconds / row.calls * 1e6, bytes, share,
                            row.name);
    }
    return text +
           fmt::format("{:9.3f} {:6.3f} {:8.1f}{:>35}all kernels of a pass; a copy moves {:.2f} TB/s\n",
                       sum.seconds * 1e3, 1.0, sum.calls, "", bandwidth * 1e-12);
}

}  // namespace glow
