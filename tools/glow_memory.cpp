// glow_memory: memory of forward and backward against depth, image size and batch, under each memory policy.
// Every point runs in its own process, so that process growth is due to that point.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string_view>

#include "data/formats/output_name.h"
#include "kernels/error.h"
#include "runtime/device.h"
#include "runtime/memory_limit.h"
#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/numbers.h"
#include "tools/output_files.h"
#include "tools/run_program.h"
#include "train/memory_fit.h"
#include "train/memory_plan.h"
#include "train/memory_point.h"

namespace glow {

enum class Axis { depth, size, batch };  // axes of the experiment
template <>
struct EnumNames<Axis> {
    static constexpr const char* what = "axis";
    static constexpr EnumName<Axis> values[] = {
        {Axis::depth, "depth"}, {Axis::size, "size"}, {Axis::batch, "batch"}};
};

}  // namespace glow

namespace {

using namespace glow;

constexpr const char* kColumns =
    "mode,levels,depth,width,image,channels,batch,device,precision,peak_bytes,params_bytes,grads_bytes,moments_bytes,ema_bytes,derived_bytes,state_bytes,workspace_bytes,stored_bytes,predicted_bytes,process_bytes,step_ms,images_per_s,grad_cosine,max_drift,repeats,images_per_s_q1,images_per_s_q3";

struct Request {
    std::vector<std::string> modes = {"reconstruct", "checkpoint", "store"};
    std::vector<index_t> depths = {4, 8, 16, 32}, sizes = {32}, batches = {8}, levels = {3};
    index_t width = 256, channels = 3, tile = 0, act_budget = 0, anchor_every = 0;
    CouplingKind coupling = CouplingKind::affine;
    Precision precision = Precision::fp32;
    MomentPrecision moments = MomentPrecision::fp32;
    std::optional<Axis> figure, largest;
    std::string device = "auto", csv, plot, point;
    std::vector<double> under;
    bool rounding_bits = false, float_states = false, with_optimizer = false, fused_update = false,
         cosine = true, predict = false;
    int threads = 0, passes = 1, repeats = 1;
    std::uint64_t seed = 1;
};

// A point on the axes. A mode is a memory policy, optionally ":N" for tiles of N images.
struct Point {
    std::string mode;
    index_t levels = 0, depth = 0, size = 0, batch = 0;
};
index_t& coordinate(Point& p, Axis axis) {
    return axis == Axis::size ? p.size : axis == Axis::batch ? p.batch : p.depth;
}
std::string name_of(const Point& p) {
    return fmt::format("{} L {} K {} {}x{} batch {}", p.mode, p.levels, p.depth, p.size, p.size, p.batch);
}

MemoryPoint memory_point(const Request& request, const Point& p) {
    MemoryPoint point;
    TrainingOptions& o = point.options;
    o.model.image_height = o.model.image_width = p.size;
    o.model.channels = request.channels;
    o.model.levels = p.levels;
    o.model.depth = p.depth;
    o.model.width = request.width;
    o.model.coupling = request.coupling;
    const std::size_t colon = p.mode.find(':');
    o.memory = parse_name<MemoryMode>(p.mode.substr(0, colon));
    o.tile = request.tile;
    if (colon != std::string::npos) {
        const std::string tile = p.mode.substr(colon + 1);
        if (parse_decimal(tile, o.tile) != std::errc() || o.tile < 0 || o.tile > 1 << 30)
            throw InputError(fmt::format("--modes {}: expected a number of images after the colon", p.mode));
    }
    o.batch = p.batch;
    o.precision = request.precision;
    o.act_budget =
        request.act_budget > 0 ? request.act_budget : default_act_budget(parse_device(request.device), {});
    o.anchor_every = request.anchor_every;
    o.rounding_bits = request.rounding_bits;
    o.float_states = request.float_states;
    o.fused_update = request.fused_update;
    o.moments = request.moments;
    if (!request.with_optimizer && (o.fused_update || o.moments != MomentPrecision::fp32))
        throw InputError("--fused-update and --moments need --with-optimizer");
    o.seed = request.seed;
    point.with_optimizer = request.with_optimizer;
    point.passes = request.passes;
    check(o);
    check(o.model);
    return point;
}

// Rejects options that no point uses.
void check_used(const Request& request, const CLI::App& app) {
    const auto is_given = [&app](const char* option) { return app.get_option(option)->count() > 0; };
    if (request.largest && request.under.empty())
        throw InputError("--largest needs --under, which finds the largest value along this axis");
    if (request.predict)
        for (const char* const option : {"--repeats", "--passes", "--cosine"})
            if (is_given(option))
                throw InputError(fmt::format("{}: --predict measures nothing, so omit one of them", option));
    if (request.fused_update && request.cosine && is_given("--cosine"))
        throw InputError("--cosine: --fused-update leaves no gradient to compare, so omit one of them");
    std::string problem;
    for (const std::string& mode : request.modes) {
        TrainingOptions o;
        o.memory = parse_name<MemoryMode>(mode.substr(0, mode.find(':')));
        o.act_budget = request.act_budget;
        o.anchor_every = request.anchor_every;
        o.rounding_bits = request.rounding_bits;
        o.float_states = request.float_states;
        problem = unused_memory_option(o);
        if (problem.empty()) return;
    }
    throw InputError(problem + ", so give another of --modes");
}

// Available memory of this machine: a larger point would be killed. (GPUs report errors themselves.)
std::size_t available_bytes(Device device) {
    if (device == Device::cuda) return std::numeric_limits<std::size_t>::max();
    std::ifstream info("/proc/meminfo");
    std::size_t bytes = memory_limit_bytes();
    for (std::string line; std::getline(info, line);)
        if (line.rfind("MemAvailable:", 0) == 0)
            bytes = std::min<std::size_t>(bytes, std::strtoull(line.c_str() + 13, nullptr, 10) * 1024);
    return bytes;
}

// ---- A point, in a separate process --------------------------------------------------------------------

// The CSV row of a point without the columns of repeats; without a result, the counted values.
std::string row(const Request& request, const Point& p, const MemoryPlan& plan,
                const MemoryMeasurement* result, std::optional<double> cosine) {
    const MemoryBytes& bytes = result != nullptr ? result->peak : plan.bytes;
    std::string text =
        fmt::format("{},{},{},{},{},{},{},{},{},{}", p.mode, p.levels, p.depth, request.width, p.size,
                    request.channels, p.batch, request.device, to_string(request.precision),
                    result != nullptr ? fmt::to_string(total(bytes)) : "");
    for (const Category category :
         {Category::parameters, Category::gradients, Category::moments, Category::ema, Category::derived,
          Category::state, Category::workspace, Category::stored})
        text += fmt::format(",{}", at(bytes, category));
    text += fmt::format(",{}", total(plan.bytes));
    if (result == nullptr) return text + ",,,,,";
    text += fmt::format(",{},{:.3f},{:.4f},", result->process_bytes, result->step_ms,
                        1e3 * static_cast<double>(p.batch) / result->step_ms);
    if (cosine) text += fmt::format("{:.9f}", *cosine);
    return text + fmt::format(",{:.3g}", result->drift);
}

void run_point(const CommandLine& command, const Request& request) {
    Point p{};
    try {
        const nlohmann::json json = nlohmann::json::parse(request.point);
        p = Point{json.at(0), json.at(1), json.at(2), json.at(3), json.at(4)};
    } catch (const nlohmann::json::exception&) {
        throw InputError(fmt::format(
            "--point {}: expected [\"mode\", levels, depth, size, batch], as glow_memory passes to itself",
            request.point));
    }
    const Backend backend = open_backend(command, parse_device(request.device), request.threads);
    const MemoryPoint point = memory_point(request, p);
    const MemoryPlan plan = memory_plan(point, backend);
    const MemoryMeasurement result = measure_memory(point, plan, backend);
    std::optional<double> cosine;
    if (request.cosine && !request.fused_update)
        cosine = gradient_cosine(point, result, backend, available_bytes(backend.exec().device));
    std::puts(row(request, p, plan, &result, cosine).c_str());
}

constexpr std::string_view kSpeedColumn = "images_per_s";

// One row of several measurements of a point: the one of median speed, with the number and quartiles of the
// speeds.
std::string summarize_repeats(std::vector<std::string> rows) {
    const std::vector<std::string> names = split_text(kColumns);
    const auto column = std::find(names.begin(), names.end(), kSpeedColumn) - names.begin();
    const auto speed = [column](const std::string& row) {
        double value = 0;
        parse_decimal(split_text(row)[static_cast<std::size_t>(column)], value);
        return value;
    };
    std::sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return speed(a) < speed(b); });
    // Interpolated between the nearest measurements, as NumPy's percentile().
    const auto quantile = [&](double q) {
        const double at = q * static_cast<double>(rows.size() - 1);
        const auto below = static_cast<std::size_t>(at);
        const std::size_t above = std::min(below + 1, rows.size() - 1);
        return std::lerp(speed(rows[below]), speed(rows[above]), at - static_cast<double>(below));
    };
    const std::string quartiles =
        rows.size() > 1 ? fmt::format("{:.4f},{:.4f}", quantile(0.25), quantile(0.75)) : ",";
    return fmt::format("{},{},{}", rows[rows.size() / 2], rows.size(), quartiles);
}

// Runs this program again with the same arguments for one point; returns its row and exit status.
struct ChildResult {
    std::string row;
    int status;
};
ChildResult run_in_child(const std::vector<std::string>& arguments, const Point& p) {
    std::vector<std::string> argv = arguments;
    argv[0] = std::filesystem::read_symlink("/proc/self/exe").string();
    argv.push_back("--point");
    argv.push_back(nlohmann::json{p.mode, p.levels, p.depth, p.size, p.batch}.dump());
    std::string text;
    const int status = run_program(argv, &text);
    return {text.substr(0, text.find('\n')), status <= 127 ? status : 1};
}

// ---- The axes ------------------------------------------------------------------------------------------

// Where a search along an axis ends.
index_t last_of(Axis axis, const Point& p) {
    constexpr index_t kSize = index_t{1} << 16, kBatch = 1 << 20, kDepth = 1 << 12;
    return axis == Axis::size ? kSize >> p.levels << p.levels : axis == Axis::batch ? kBatch : kDepth;
}

// The largest point along one axis whose plan stays below `bytes`; 0 if there is none.
index_t largest_under(const Request& request, Axis axis, Point p, double gib, const Backend& backend) {
    const std::size_t bytes = static_cast<std::size_t>(gib * double(1 << 30));
    const index_t unit = axis == Axis::size ? index_t{1} << p.levels : 1, most = last_of(axis, p) / unit;
    return unit * largest_that_fits(most, [&](index_t x) {
               coordinate(p, axis) = x * unit;
               return total(memory_plan(memory_point(request, p), backend).bytes) <= bytes;
           });
}

std::vector<Point> points(const CommandLine& command, const Request& request, const Backend& backend) {
    const Axis axis = request.largest.value_or(request.figure.value_or(Axis::depth));
    std::vector<Point> all;
    for (const std::string& mode : request.modes)
        for (const index_t levels : request.levels)
            for (const index_t size : request.sizes)
                for (const index_t batch : request.batches)
                    for (const index_t depth : request.depths) {
                        const Point p{mode, levels, depth, size, batch};
                        memory_point(request, p);  // validates the point before anything runs
                        if (request.under.empty()) all.push_back(p);
                        for (const double gib : request.under) {
                            Point largest = p;
                            const index_t x = largest_under(request, axis, p, gib, backend);
                            if (x == 0) {
                                command.warn("{}: no {} fits in {} GiB", name_of(p), to_string(axis), gib);
                                continue;
                            }
                            if (x == last_of(axis, p))
                                command.warn("{}: the search in {} GiB ends at {} {}; more may fit",
                                             name_of(p), gib, to_string(axis), x);
                            coordinate(largest, axis) = x;
                            all.push_back(largest);
                        }
                    }
    return all;
}

// The settings of the published figures: InvertibleNetworks.jl (JOSS 2024), 256x256x3, batch 8, L 3, width
// 256. The depth of its figure of sizes is not given; normflows' 13.0 GiB at 256x256 is closest to its 13.55
// GiB at K 16.
void apply_figure(Request& request, const CLI::App& app) {
    if (!request.figure) return;
    const auto is_default = [&app](const char* option) { return app.get_option(option)->count() == 0; };
    if (is_default("--modes"))
        request.modes = {"reconstruct:1", fmt::format("reconstruct:{}", request.batches[0]), "checkpoint",
                         "store"};
    if (*request.figure == Axis::depth) {
        if (is_default("--depths")) request.depths = {4, 8, 16, 32, 48, 64, 80};
        if (is_default("--sizes")) request.sizes = {256};
    } else {
        if (is_default("--depths")) request.depths = {16};
        if (is_default("--sizes")) request.sizes = {64, 128, 256, 480, 512, 1024};
    }
}

// plot_memory.py of a build, an installation or a bundle.
std::filesystem::path plot_script() {
    namespace fs = std::filesystem;
    const fs::path program = fs::read_symlink("/proc/self/exe").parent_path();
    const fs::path candidates[] = {program / "../share/glow/tools/plot_memory.py",
                                   program / "../tools/plot_memory.py", GLOW_SOURCE_TOOLS "/plot_memory.py"};
    for (const fs::path& script : candidates)
        if (fs::exists(script)) return fs::canonical(script);
    throw InputError(fmt::format(
        "--plot: plot_memory.py is not in {}; measure without --plot, and run it on the --csv file",
        candidates[0].lexically_normal().parent_path().string()));
}

// Runs plot_memory.py; `more`: "--check" only checks that it can draw.
void plot(const Request& request, const std::vector<std::string>& more = {}) {
    const char* const python = std::getenv("GLOW_PYTHON");
    std::vector<std::string> argv = {python != nullptr ? python : "python3", plot_script().string(),
                                     request.csv, "-o", request.plot};
    argv.insert(argv.end(), more.begin(), more.end());
    const int status = run_program(argv);
    if (status == 2) throw InputError("--plot: nothing can be drawn (see plot_memory.py's message above)");
    if (status != 0)
        throw Error(
            "--plot: plot_memory.py failed; it needs a python3 with matplotlib (GLOW_PYTHON names one)");
}

// The --csv file, written row by row; may be a terminal or pipe.
class CsvOutput {
  public:
    CsvOutput(const CommandLine& command, const Request& request)
        : path_(request.csv), outputs_(command, {}, lockable(request.csv)) {
        if (path_.empty()) return;
        refuse_other_file();
        file_.open(path_);
        if (!file_)
            throw InputError(fmt::format("--csv {}: cannot be written: {}", path_, std::strerror(errno)));
        line(kColumns);
    }
    void line(const std::string& text) {
        if (file_.is_open() && !(file_ << text << '\n' << std::flush)) fail();
    }
    void close() {
        if (!file_.is_open()) return;
        file_.close();  // NFS and quotas may report a full disk only now
        if (!file_) fail();
    }
    static std::vector<NamedPath> lockable(const std::string& path) {
        std::error_code ignored;
        if (path.empty() || std::filesystem::is_character_file(path, ignored) ||
            std::filesystem::is_fifo(path, ignored))
            return {};
        return {{"--csv", path}};
    }

  private:
    [[noreturn]] void fail() const {
        throw Error(
            fmt::format("--csv {}: cannot be written: {}", path_, std::strerror(errno != 0 ? errno : EIO)));
    }
    // Rows are written as they are measured, so an existing file would be overwritten before there are
    // results.
    void refuse_other_file() const {
        refuse_other_name(path_, "a CSV file");
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(path_, ignored)) return;
        std::ifstream file(path_);
        std::string first;
        std::getline(file, first);
        constexpr std::string_view kFirstColumns =
            "mode,levels,depth,width,image,";  // older files have fewer
        if (!first.empty() && !first.starts_with(kFirstColumns))
            throw InputError(fmt::format(
                "--csv {}: the file exists and was not written by glow_memory: choose another name", path_));
    }

    std::string path_;
    OutputFiles outputs_;
    std::ofstream file_;
};

// A CSV row as a JSON object.
nlohmann::ordered_json object_of(const std::string& line) {
    const std::vector<std::string> names = split_text(kColumns), values = split_text(line);
    nlohmann::ordered_json object;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const bool word = names[i] == "mode" || names[i] == "device" || names[i] == "precision";
        object[names[i]] = word                ? nlohmann::ordered_json(values[i])
                           : values[i].empty() ? nlohmann::ordered_json()
                                               : nlohmann::ordered_json::parse(values[i]);
    }
    return object;
}

// Measures a point and returns its row; empty if the machine has not enough memory or the point failed, which
// increments `failed`.
std::optional<std::string> measured_row(const CommandLine& command, const Point& p, std::size_t planned,
                                        Device device, const std::vector<std::string>& arguments,
                                        int& failed) {
    if (planned > available_bytes(device)) {
        command.info("{}: needs {}, more than this machine has available", name_of(p), format_bytes(planned));
        return {};
    }
    const ChildResult run = run_in_child(arguments, p);
    if (run.status == 0) return run.row;
    command.warn("{}: {}", name_of(p), run.status == 2 ? "refused" : "failed");
    failed += run.status != 2;
    return {};
}

void experiment(CommandLine& command, Request& request, const std::vector<std::string>& arguments) {
    const Device device = parse_device(request.device);
    request.device = to_string(device);
    if (!request.predict) require_device(device);  // planning needs no device
    if (!request.point.empty()) return run_point(command, request);
    apply_figure(request, command.app());
    check_used(request, command.app());
    if (!request.plot.empty() && request.csv.empty())
        throw InputError("--plot needs --csv F.csv, whose rows it plots");
    if (!request.plot.empty()) plot(request, {"--check"});  // before hours of measuring
    const Backend backend = Backend::for_plans(device, request.threads);
    const std::vector<Point> all = points(command, request, backend);
    if (!request.plot.empty()) {  // plot_memory.py locks it itself
        std::vector<NamedPath> files = CsvOutput::lockable(request.csv);
        files.push_back({"--plot", request.plot});
        const OutputFiles writable(command, {}, files);
    }
    CsvOutput csv(command, request);

    std::string text = kColumns;
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    int failed = 0;
    std::vector<std::vector<std::string>> measured(all.size());
    // Cycles through all points, so that other work on the machine slows them equally.
    for (int round = 1; round < request.repeats && !request.predict; ++round)
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (std::ssize(measured[i]) + 1 < round) continue;  // failed in an earlier round
            const MemoryPlan plan = memory_plan(memory_point(request, all[i]), backend);
            if (auto line = measured_row(command, all[i], total(plan.bytes), device, arguments, failed))
                measured[i].push_back(*line);
        }
    for (std::size_t i = 0; i < all.size(); ++i) {
        const Point& p = all[i];
        const MemoryPlan plan = memory_plan(memory_point(request, p), backend);
        if (request.predict) {
            measured[i] = {row(request, p, plan, nullptr, {})};
        } else if (std::ssize(measured[i]) + 1 == request.repeats) {
            if (auto line = measured_row(command, p, total(plan.bytes), device, arguments, failed))
                measured[i].push_back(*line);
        }
        if (measured[i].empty()) continue;
        const std::string line = request.predict ? measured[i][0] + ",,," : summarize_repeats(measured[i]);
        text += '\n' + line;
        csv.line(line);
        const nlohmann::ordered_json& object = rows.emplace_back(object_of(line));
        if (request.predict)
            command.info("{}: {} predicted", name_of(p), format_bytes(total(plan.bytes)));
        else
            command.info("{}: peak {}, process {}, {:.1f} s", name_of(p),
                         format_bytes(object["peak_bytes"].get<std::size_t>()),
                         format_bytes(object["process_bytes"].get<std::size_t>()),
                         object["step_ms"].get<double>() / 1e3);
    }
    csv.close();
    if (!request.plot.empty()) plot(request);
    command.result(text, {{"rows", rows}});
    if (failed > 0) throw Error(fmt::format("{} of {} points failed", failed, all.size()));
}

void add_options(CommandLine& command, const std::shared_ptr<Request>& r) {
    CLI::App& app = command.app();
    add_list(app, "--modes", r->modes,
             "Memory policies: reconstruct, checkpoint, store, auto; `reconstruct:2` uses tiles of 2 images");
    add_list(app, "--depths", r->depths, "Steps of flow per level", CLI::Range(1, 1 << 12));
    add_list(app, "--sizes", r->sizes, "Height and width of the images", CLI::Range(2, 1 << 16));
    add_list(app, "--batches", r->batches, "Images per pass", CLI::Range(1, 1 << 20));
    add_list(app, "--levels", r->levels, "Levels", CLI::Range(1, 16));
    app.add_option("--width", r->width, "Hidden channels");
    app.add_option("--channels", r->channels, "Channels of the images");
    add_choice(app, "--coupling", r->coupling, "affine or additive");
    app.add_option("--tile", r->tile, "Images per tile of the networks; 0: default rule");
    app.add_option("--anchor-every", r->anchor_every, "As for glow_train");
    app.add_flag("--rounding-bits", r->rounding_bits, "As for glow_train");
    app.add_flag("--float-states", r->float_states, "As for glow_train");
    app.add_option("--act-budget", r->act_budget, "As for glow_train")
        ->transform(as_bytes())
        ->type_name("BYTES");
    app.add_flag("--with-optimizer", r->with_optimizer, "Include moments, EMA and the update");
    app.add_flag("--fused-update", r->fused_update, "As for glow_train; needs --with-optimizer");
    add_choice(app, "--moments", r->moments, "As for glow_train; needs --with-optimizer");
    add_choice(app, "--figure", r->figure,
               "depth or size: settings of the published figures, unless other options override them")
        ->check(CLI::IsMember({"depth", "size"}));
    add_list(
        app, "--under", r->under,
        "Limit in GiB: find the largest depth (or --largest) that fits, for every combination, by planning",
        CLI::Range(1e-6, 1e6));
    add_choice(app, "--largest", r->largest, "depth, size or batch: the axis that --under searches");
    app.add_flag("--predict", r->predict, "Plan only: no measured columns");
    app.add_flag("--cosine,!--no-cosine", r->cosine,
                 "Compare the gradient with policy checkpoint (default on)");
    app.add_option(
           "--repeats", r->repeats,
           "Measurements of each point, each in its own process, cycling through all points; the speed is their "
           "median, with its quartiles")
        ->check(CLI::Range(1, 1000));
    app.add_option("--passes", r->passes, "Passes per measurement; the fastest is reported")
        ->check(CLI::Range(1, 1000));
    app.add_option("--csv", r->csv, "Write the rows to a file as they are measured");
    app.add_option("--plot", r->plot,
                   "Plot the rows of --csv as PNG, SVG or PDF (plot_memory.py, matplotlib)");
    add_device(app, r->device);
    add_precision(app, r->precision);
    add_threads(app, r->threads);
    add_seed(app, r->seed, "Seed of images and weights");
    app.add_option("--point", r->point, "")->group("");
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv, argv + argc);
    return run_tool(
        argc, argv, "Memory of forward and backward against depth, image size and batch.",
        [&arguments](CommandLine& command) {
            const auto request = std::make_shared<Request>();
            add_options(command, request);
            command.action([&command, request, arguments] { experiment(command, *request, arguments); });
        });
}
