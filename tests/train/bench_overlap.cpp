// Measures the cost of communication per step: run as N processes, it times steps with and without all-reduce
// alternately and prints the ratio of medians.
//
//     tests/run_processes.sh 2 build/release/tests/train/bench_overlap [depth 32] [images per process 4]
//     [rounds 7]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/train/training.h"
#include "train/memory_plan.h"

namespace glow {
namespace {

struct Model {
    Model(const TrainingOptions& options, Communicator* processes)
        : backend(Device::cpu, 1, 0, processes),
          memory(Device::cpu, capacity_of(memory_plan(options, options.init_batch, backend), Device::cpu)),
          trainer(options, backend, memory) {}
    Backend backend;
    Memory memory;
    Trainer trainer;
};

// The quantile `part` of the values.
double quantile(std::vector<double> values, double part) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

void bench(index_t depth, index_t images, int rounds) {
    const auto processes = open_communicator(CommunicatorKind::automatic, Device::cpu);
    TrainingOptions together = small_options(32, 32, 3, 3, depth, 512), alone;
    together.batch = together.init_batch = images * processes->size();
    alone = together;
    alone.batch = alone.init_batch = images;
    Model with(together, processes.get()), without(alone, nullptr);
    const Images mine(images, together.model, static_cast<std::uint64_t>(processes->rank()));
    for (Model* model : {&with, &without}) model->trainer.initialize(mine.batch());

    std::vector<double> times[2];
    for (int round = -1; round < rounds; ++round)
        for (const bool communicating : {true, false}) {
            processes->barrier();
            const auto start = std::chrono::steady_clock::now();
            (communicating ? with : without).trainer.step(mine.batch(), {});
            processes->barrier();  // the slowest process determines the time
            const double seconds =
                std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            if (round >= 0) times[communicating].push_back(seconds);
        }
    if (!processes->is_root()) return;
    std::vector<double> ratios;
    for (std::size_t i = 0; i < times[0].size(); ++i) ratios.push_back(times[1][i] / times[0][i]);
    std::printf(
        "%d processes, %lld gradients, %lld images each, %d rounds: %.3f s per step with and %.3f s without "
        "sums; "
        "ratio %.3f (quartiles %.3f to %.3f)\n",
        processes->size(), static_cast<long long>(with.trainer.glow().parameters().size()),
        static_cast<long long>(images), rounds, quantile(times[1], 0.5), quantile(times[0], 0.5),
        quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75));
}

}  // namespace
}  // namespace glow

int main(int argc, char** argv) {
    const auto argument = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
    glow::bench(argument(1, 32), argument(2, 4), argument(3, 7));
}
