// What is done between encoding and decoding, and the pictures of it.
#include "tools/latent_editing.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>

#include "kernels/error.h"
#include "runtime/device.h"
#include "tools/csv.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "data/grid.h"
#include "data/formats/output_name.h"
#include "data/formats/photo.h"
#include "data/formats/decimal.h"
#include "inference/latent_images.h"

namespace glow {
namespace {

struct Options {
    std::string checkpoint, data, split = "test", precision = "fp32", device = "auto", output, frames;
    bool no_ema = false;
    index_t batch = 64, limit = 0, steps = 8;
    int threads = 0;
    std::string images, files, label;                                     // which images
    std::string path = "spherical";                                       // interpolate
    std::string method = "linear", positive, negative, attributes, name;  // direction
    double ridge = 1;
    std::string direction, alpha = "-1..1", levels, temperature;  // manipulate
};

// "a,b,c"; an empty text has no part.
std::vector<std::string> split_text(const std::string& text, char separator = ',') {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
    return parts;
}

template <class T>
T parse_number(const std::string& option, const std::string& text, T low, T high) {
    T value{};
    if (parse_decimal(text, value) != std::errc() || !(value >= low && value <= high))
        throw InputError(
            fmt::format("{} \"{}\": expected a number between {} and {}", option, text, low, high));
    return value;
}

template <class T>
std::vector<T> parse_numbers(const std::string& option, const std::string& text, T low, T high) {
    std::vector<T> numbers;
    for (const std::string& part : split_text(text)) numbers.push_back(parse_number(option, part, low, high));
    return numbers;
}

// The images that a command is about, from a data set or from files, and the model that they pass.
class EditInput {
  public:
    EditInput(const CommandLine& command, const Options& options)
        : backend_(open_backend(command, parse_device(options.device), options.threads)),
          checkpoint_(find_checkpoint(options.checkpoint)),
          set_(chosen(options, read_checkpoint_info(checkpoint_).model)),
          model_(checkpoint_, !options.no_ema, parse_name<Precision>(options.precision), options.batch,
                 backend_) {}

    LoadedModel& model() { return model_; }
    const ModelConfig& config() { return model_.glow().config(); }
    const ImageSet& set() const { return set_; }
    std::int32_t label(index_t n) const { return set_.labels.empty() ? 0 : set_.labels[n]; }
    std::string checkpoint() const { return checkpoint_.string(); }

  private:
    ImageSet chosen(const Options& options, const ModelConfig& model) const {
        if (options.files.empty() == options.data.empty())
            throw InputError("give either --data with --images, or --files");
        ImageSet set = options.files.empty() ? from_data(options, model) : from_files(options, model);
        if (!model.y_cond) set.labels.clear();
        if (!options.label.empty()) {
            if (!model.y_cond)
                throw InputError(
                    fmt::format("--class {}: the model is not conditional on classes", options.label));
            const std::int32_t label = parse_number<std::int32_t>(
                "--class", options.label, 0, static_cast<std::int32_t>(model.n_classes) - 1);
            set.labels.assign(static_cast<std::size_t>(set.N), label);
        }
        if (model.y_cond && set.labels.empty())
            throw InputError("the model is conditional on classes, and files have none: give --class");
        return set;
    }

    ImageSet from_data(const Options& options, const ModelConfig& model) const {
        const DatasetReader reader(options.data);
        const DatasetInfo& info = reader.info();
        require_fitting(options.data, info, options.split, checkpoint_, model);
        const index_t all = info.images(options.split);
        if (all == 0) throw InputError(fmt::format("{} has no {} images", options.data, options.split));
        const std::vector<index_t> numbers =
            parse_numbers<index_t>("--images", options.images.empty() ? "0" : options.images, 0, all - 1);
        ImageSet set{std::ssize(numbers), info.H, info.W, info.C, {}, {}, info.n_classes};
        set.images.resize(static_cast<std::size_t>(set.N * set.image_bytes()));
        reader.read_scattered(options.split, numbers.data(), set.N, set.images.data());
        if (info.labels(options.split)) {
            const std::vector<std::int32_t> labels = reader.read_labels(options.split, all);
            for (const index_t number : numbers) set.labels.push_back(labels[number]);
        }
        return set;
    }

    // Of the model's size; square models take the middle square of larger ones, scaled down.
    ImageSet from_files(const Options& options, const ModelConfig& model) const {
        ImageSet set{0, model.image_height, model.image_width, model.channels, {}, {}, 0};
        for (const std::string& file : split_text(options.files)) {
            if (model.channels != 1 && model.channels != 3)
                throw InputError("--files: the model's images have neither 1 nor 3 channels");
            const Image image = read_photo(file, model.channels);
            const bool fits = image.H == set.H && image.W == set.W;
            if (!fits && (set.H != set.W || std::min(image.H, image.W) < set.H))
                throw InputError(fmt::format("{}: {}x{} pixels, and the model takes {}x{}", file, image.H,
                                             image.W, set.H, set.W));
            set.images.resize(set.images.size() + static_cast<std::size_t>(set.image_bytes()));
            std::uint8_t* const to = set.images.data() + set.N * set.image_bytes();
            if (fits)
                std::copy(image.pixels.begin(), image.pixels.end(), to);
            else
                crop_and_shrink(image, set.H, to);
            ++set.N;
        }
        return set;
    }

    Backend backend_;
    std::filesystem::path checkpoint_;
    ImageSet set_;
    LoadedModel model_;
};

// Decoded images, row by row of a sheet: to a PNG picture or to /images of NAME.h5, and one by one to a
// folder.
void write_images(const CommandLine& command, const Options& options, EditInput& subject, const GridSize& grid,
                  const std::vector<Latent>& latents, const std::vector<std::int32_t>& labels,
                  nlohmann::ordered_json object) {
    const ModelConfig& model = subject.config();
    std::vector<double> largest;
    std::vector<std::uint8_t> pixels =
        decode_all(subject.model(), latents, model.y_cond ? labels : std::vector<std::int32_t>(), &largest);
    SampleHealth found;
    found.add(std::ssize(largest), largest.data());
    if (found.any()) command.warn("images: {} (docs/using.md says why)", found.text());
    cross_out_not_finite(model, std::ssize(largest), largest.data(), pixels.data());
    const index_t N = std::ssize(latents), D = model.dimensions();
    if (is_hdf5_name(options.output)) {
        write_atomically(options.output, [&](const std::filesystem::path& temporary) {
            Hdf5File file = Hdf5File::create(temporary, options.output);
            file.write<std::uint8_t>("/images", {N, model.image_height, model.image_width, model.channels},
                                     pixels.data());
            file.close();
        });
    } else {
        write_png(options.output,
                  tile_images(pixels.data(), N, model.image_height, model.image_width, model.channels, grid));
    }
    if (!options.frames.empty()) {
        std::error_code failed;
        std::filesystem::create_directories(options.frames, failed);
        if (failed)
            throw InputError(
                fmt::format("{}: the folder cannot be made: {}", options.frames, failed.message()));
        for (index_t n = 0; n < N; ++n)
            write_png(std::filesystem::path(options.frames) / fmt::format("{:06d}.png", n),
                      {model.image_height,
                       model.image_width,
                       model.channels,
                       {pixels.begin() + n * D, pixels.begin() + (n + 1) * D}});
    }
    object["output"] = options.output;
    object["rows"] = grid.rows;
    object["columns"] = grid.columns;
    object["images"] = N;
    object["checkpoint"] = subject.checkpoint();
    command.result(fmt::format("{}: {} rows of {} images", options.output, grid.rows, grid.columns), object);
}

// Before any work.
void check_image_output(const Options& options) {
    require_png_or_hdf5_name(options.output);
    refuse_picture_name(options.frames, "a folder of PNG files");
}

OutputFiles claim_outputs(const CommandLine& command, const Options& options) {
    std::vector<NamedPath> inputs = {{"--checkpoint", options.checkpoint},
                                     {"--data", options.data},
                                     {"--attributes", options.attributes},
                                     {"--direction", options.direction}};
    for (const std::string& file : split_text(options.files)) inputs.push_back({"--files", file});
    OutputFiles outputs(command, inputs, {{"--output", options.output}});
    if (!options.frames.empty()) outputs.add_folder({"--frames", options.frames});
    return outputs;
}

// ---- interpolate ---------------------------------------------------------------------------------

void interpolate(const CommandLine& command, const Options& options) {
    const OutputFiles outputs = claim_outputs(command, options);
    check_image_output(options);
    if (options.path != "linear" && options.path != "spherical")
        throw InputError("--path " + options.path + ": it must be linear or spherical");
    EditInput subject(command, options);
    const index_t N = subject.set().N, S = options.steps;
    if (N < 2 || S < 2)
        throw InputError("interpolate needs 2 images, or 4 for the corners of a grid, and 2 --steps");
    const auto between = options.path == "linear" ? between_linear : between_spherical;
    const std::vector<Latent> ends = encode_all(subject.model(), subject.set());
    const auto part = [&](index_t i) { return static_cast<double>(i) / static_cast<double>(S - 1); };
    std::vector<Latent> latents;
    std::vector<std::int32_t> labels;
    GridSize grid{1, S};
    if (N == 4) {
        grid.rows = S;
        for (index_t row = 0; row < S; ++row) {
            const Latent left = between(ends[0], ends[2], part(row)),
                         right = between(ends[1], ends[3], part(row));
            for (index_t i = 0; i < S; ++i) {
                latents.push_back(between(left, right, part(i)));
                labels.push_back(
                    subject.label((2 * row < S ? 0 : 2) + (2 * i < S ? 0 : 1)));  // the nearest corner's
            }
        }
    } else {
        grid.rows = N - 1;
        for (index_t n = 0; n + 1 < N; ++n)
            for (index_t i = 0; i < S; ++i) {
                latents.push_back(between(ends[n], ends[n + 1], part(i)));
                labels.push_back(subject.label(2 * i < S ? n : n + 1));
            }
    }
    write_images(command, options, subject, grid, latents, labels, {{"path", options.path}});
}

// ---- direction -----------------------------------------------------------------------------------

// has[n] of the first images of a split: 1, 0, or 2 for those that are left out.
std::vector<std::uint8_t> read_attribute(const Options& options, index_t N) {
    const CsvTable table(options.attributes);
    const std::size_t index = table.column("index"), column = table.column(options.name);
    std::vector<std::uint8_t> has(static_cast<std::size_t>(N), 2);
    for (const CsvTable::Row& row : table.rows()) {
        const index_t image = table.integer(row, index, 0, index_t{1} << 48);
        const std::uint8_t value = table.number(row, column) > 0 ? 1 : 0;
        if (image >= N) continue;
        std::uint8_t& found = has[static_cast<std::size_t>(image)];
        if (found == 1 - value)
            table.refuse(row.line, fmt::format("image {} has another value of {} in a line above", image,
                                               options.name));
        found = value;
    }
    return has;
}

std::vector<std::uint8_t> by_labels(const Options& options, const ImageSet& set) {
    if (set.labels.empty()) throw InputError(options.data + ": it has no labels; give --attributes");
    const auto last = static_cast<std::int32_t>(set.n_classes - 1);
    const std::int32_t positive = parse_number<std::int32_t>("--positive", options.positive, 0, last);
    const std::int32_t negative =
        options.negative.empty() ? -1 : parse_number<std::int32_t>("--negative", options.negative, 0, last);
    if (negative == positive) throw InputError("--positive and --negative are the same class");
    std::vector<std::uint8_t> has;
    for (const std::int32_t label : set.labels)
        has.push_back(label == positive ? 1 : negative < 0 || label == negative ? 0 : 2);
    return has;
}

void direction(const CommandLine& command, const Options& options) {
    const OutputFiles outputs = claim_outputs(command, options);
    refuse_picture_name(options.output, "an HDF5 file of a direction");
    if (options.method != "mean" && options.method != "linear")
        throw InputError("--method " + options.method + ": it must be mean or linear");
    if (options.positive.empty() == options.attributes.empty())
        throw InputError("give either --positive C (a class), or --attributes F.csv and --attribute NAME");
    if (!options.attributes.empty() && options.name.empty())
        throw InputError("--attributes needs --attribute NAME");
    const Backend backend = open_backend(command, parse_device(options.device), options.threads);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    require_fitting(options.data, describe_dataset(options.data), options.split, checkpoint,
                    read_checkpoint_info(checkpoint).model);
    ImageSet set = load_split(options.data, options.split, options.limit > 0 ? options.limit : -1);
    const std::vector<std::uint8_t> all =
        options.attributes.empty() ? by_labels(options, set) : read_attribute(options, set.N);
    // What takes no part goes.
    ImageSet used{0, set.H, set.W, set.C, {}, {}, set.n_classes};
    std::vector<std::uint8_t> has;
    for (index_t n = 0; n < set.N; ++n) {
        if (all[n] == 2) continue;
        used.images.insert(used.images.end(), set.image(n), set.image(n) + set.image_bytes());
        if (!set.labels.empty()) used.labels.push_back(set.labels[n]);
        has.push_back(all[n]);
        ++used.N;
    }
    set = {};
    const index_t with = std::count(has.begin(), has.end(), 1);
    if (with == 0 || with == used.N)
        throw InputError(
            fmt::format("a direction needs images with the attribute and images without it, and of "
                        "{} images {} have it",
                        used.N, with));
    LoadedModel model(checkpoint, !options.no_ema, parse_name<Precision>(options.precision),
                      std::min(options.batch, used.N), backend);
    const ModelConfig& config = model.glow().config();
    const index_t D = config.dimensions();
    ProgressLine progress(command, "images");
    std::vector<float> latents;
    Direction means(D);
    for (index_t first = 0; first < used.N; first += options.batch) {
        const index_t count = std::min(options.batch, used.N - first);
        ImageSet part{count, used.H, used.W, used.C, {}, {}, used.n_classes};
        part.images.assign(used.image(first), used.image(first) + count * used.image_bytes());
        if (!used.labels.empty()) part.labels.assign(&used.labels[first], &used.labels[first] + count);
        const std::vector<Latent> some = encode_all(model, part);
        for (index_t n = 0; n < count; ++n) {
            means.add(some[n], has[first + n] != 0);
            if (options.method == "linear") latents.insert(latents.end(), some[n].begin(), some[n].end());
        }
        progress.show(first + count, used.N);
    }
    progress.clear();
    const Latent found =
        options.method == "mean" ? means.mean_difference() : linear_direction(latents, D, has, options.ridge);
    double squares = 0;
    for (const double value : found) squares += value * value;

    LatentWriter writer(options.output, model.info().config, config);
    Latent copy = found;
    const std::int32_t label = 0;
    Flow flow;
    flow.N = 1;
    flow.h = copy.data();
    flow.labels = &label;
    writer.append(flow);
    writer.commit();
    command.result(
        fmt::format("{}: direction from {} images with the attribute and {} without it, length {:.3f}",
                    options.output, with, used.N - with, std::sqrt(squares)),
        {{"output", options.output},
         {"method", options.method},
         {"with", with},
         {"without", used.N - with},
         {"length", std::sqrt(squares)},
         {"checkpoint", checkpoint.string()}});
}

// ---- manipulate ----------------------------------------------------------------------------------

// "-1..1" in `steps` values, or "-1,0,2".
std::vector<double> parse_alphas(const std::string& text, index_t steps) {
    const std::size_t dots = text.find("..");
    if (dots == std::string::npos) {
        const std::vector<double> alphas = parse_numbers("--alpha", text, -1e3, 1e3);
        if (alphas.empty()) throw InputError("--alpha: a number is missing");
        return alphas;
    }
    const double first = parse_number("--alpha", text.substr(0, dots), -1e3, 1e3),
                 last = parse_number("--alpha", text.substr(dots + 2), -1e3, 1e3);
    std::vector<double> alphas;
    for (index_t i = 0; i < steps; ++i)
        alphas.push_back(steps == 1 ? first
                                    : first + (last - first) * static_cast<double>(i) /
                                                  static_cast<double>(steps - 1));
    return alphas;
}

Latent read_direction(const Options& options, const ModelConfig& model) {
    Latent direction(static_cast<std::size_t>(model.dimensions()), 0.0);
    if (options.direction.empty()) return direction;
    const LatentReader reader(options.direction);
    if (!(reader.model() == model) || reader.images() != 1)
        throw InputError(fmt::format("{}: no direction of this model", options.direction));
    Flow flow;
    flow.N = 1;
    flow.h = direction.data();
    reader.read(0, flow);
    if (options.levels.empty()) return direction;
    Latent kept(direction.size(), 0.0);
    for (const index_t level : parse_numbers<index_t>("--levels", options.levels, 0, model.levels - 1))
        take_level(model, level, direction, kept);
    return kept;
}

void manipulate(const CommandLine& command, const Options& options) {
    const OutputFiles outputs = claim_outputs(command, options);
    check_image_output(options);
    if (options.direction.empty() && options.temperature.empty())
        throw InputError("manipulate needs --direction, --level-temperature or both");
    const std::vector<double> alphas =
        options.direction.empty() ? std::vector<double>{0} : parse_alphas(options.alpha, options.steps);
    EditInput subject(command, options);
    const Latent along = read_direction(options, subject.config());
    std::vector<double> temperature = parse_numbers("--level-temperature", options.temperature, 0.0, 100.0);
    if (!temperature.empty() && std::ssize(temperature) != subject.config().levels)
        throw InputError(fmt::format("--level-temperature: {} numbers, and the model has {} levels",
                                     temperature.size(), subject.config().levels));
    std::vector<Latent> latents;
    std::vector<std::int32_t> labels;
    const std::vector<Latent> given = encode_all(subject.model(), subject.set());
    for (index_t n = 0; n < std::ssize(given); ++n)
        for (const double alpha : alphas) {
            Latent& latent = latents.emplace_back(given[n]);
            if (!temperature.empty()) scale_levels(subject.config(), temperature, latent);
            for (std::size_t i = 0; i < latent.size(); ++i) latent[i] += alpha * along[i];
            labels.push_back(subject.label(n));
        }
    write_images(command, options, subject, {std::ssize(given), std::ssize(alphas)}, latents, labels,
                 {{"alpha", alphas}});
}

// ---- exchange ------------------------------------------------------------------------------------

// Two rows: each image, then itself with the latents of one level after the other from the other image.
void exchange(const CommandLine& command, const Options& options) {
    const OutputFiles outputs = claim_outputs(command, options);
    check_image_output(options);
    EditInput subject(command, options);
    if (subject.set().N != 2) throw InputError("exchange needs 2 images");
    const std::vector<Latent> given = encode_all(subject.model(), subject.set());
    const index_t L = subject.config().levels;
    std::vector<Latent> latents;
    std::vector<std::int32_t> labels;
    for (const index_t n : {0, 1}) {
        latents.push_back(given[n]);
        for (index_t level = 0; level < L; ++level)
            take_level(subject.config(), level, given[1 - n], latents.emplace_back(given[n]));
        labels.insert(labels.end(), static_cast<std::size_t>(L + 1), subject.label(n));
    }
    write_images(command, options, subject, {2, L + 1}, latents, labels, {{"levels", L}});
}

// ---- The command line ----------------------------------------------------------------------------

void add_model(CLI::App& app, Options& options) {
    app.add_option("--checkpoint", options.checkpoint, "Checkpoint file or run folder")->required();
    app.add_flag("--no-ema", options.no_ema, "Raw weights instead of their running average");
    app.add_option("--precision", options.precision,
                   "fp32, tf32 (GPUs) or bf16: precision of the coupling networks");
    app.add_option("--batch", options.batch, "Images at once")->check(CLI::Range(1, 1 << 20));
    add_device(app, options.device);
    app.add_option("--threads", options.threads, "Threads; 0: all usable processors")
        ->check(CLI::Range(0, 4096));
}

void add_subject(CLI::App& app, Options& options) {
    app.add_option("--data", options.data, "Data set (HDF5)");
    app.add_option("--split", options.split, "train, valid or test");
    app.add_option("--images", options.images, "Numbers of its images, separated by commas");
    app.add_option("--files", options.files, "PNG or JPEG files instead, separated by commas");
    app.add_option("--class", options.label,
                   "Class of all images, for conditional models; the data set's else");
    app.add_option("-o,--output", options.output, "NAME.png: a sheet; NAME.h5: images in /images")
        ->required();
    app.add_option("--frames", options.frames, "Folder for each image as a PNG file");
}

void add_steps(CLI::App& app, Options& options) {
    app.add_option("--steps", options.steps, "Images in a row")
        ->check(CLI::Range(1, 1000));
}

}  // namespace

void add_latent_editing(CommandLine& command) {
    const auto options = std::make_shared<Options>();
    CLI::App* const between = command.subcommand(
        "interpolate", "Images between images: 2 and more one after the other, 4 as the corners of a grid",
        [&command, options] { interpolate(command, *options); });
    add_model(*between, *options);
    add_subject(*between, *options);
    add_steps(*between, *options);
    between->add_option("--path", options->path, "spherical (constant length) or linear");

    CLI::App* const find = command.subcommand("direction", "The direction of an attribute among the latents",
                                              [&command, options] { direction(command, *options); });
    add_model(*find, *options);
    find->add_option("--data", options->data, "Data set (HDF5)")->required();
    find->add_option("--split", options->split, "train, valid or test");
    find->add_option("--limit", options->limit, "Only the first so many images; 0: all")
        ->check(CLI::Range(index_t{0}, index_t{1} << 48));
    find->add_option("--positive", options->positive, "Class of images that have the attribute");
    find->add_option("--negative", options->negative, "Class of images that do not; none: all other classes");
    find->add_option("--attributes", options->attributes, "CSV file instead: index,NAME,...; above 0 has it");
    find->add_option("--attribute", options->name, "Column of the CSV file");
    find->add_option("--method", options->method,
                     "linear (a regularised classifier's weights) or mean (difference of means)");
    find->add_option("--ridge", options->ridge, "Regularisation of the classifier")
        ->check(CLI::Range(1e-6, 1e6));
    find->add_option("-o,--output", options->output, "File of the direction (HDF5)")->required();

    CLI::App* const change = command.subcommand("manipulate", "Images moved along a direction, a row each",
                                                [&command, options] { manipulate(command, *options); });
    add_model(*change, *options);
    add_subject(*change, *options);
    add_steps(*change, *options);
    change->add_option("--direction", options->direction, "File of a direction");
    change->add_option("--alpha", options->alpha, "How far: A..B in --steps values, or numbers with commas");
    change->add_option("--levels", options->levels, "Levels in which it acts, with commas; none: all");
    change->add_option("--level-temperature", options->temperature,
                       "Factors of the latents, one a level, level 0 (the finest) first");

    CLI::App* const swap =
        command.subcommand("exchange", "Two images with the latents of each level exchanged",
                           [&command, options] { exchange(command, *options); });
    add_model(*swap, *options);
    add_subject(*swap, *options);
}

}  // namespace glow
