// direction: finds the latent direction of an attribute, from images with and without it.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "data/formats/output_name.h"
#include "inference/latent_images.h"
#include "inference/loaded_model.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "tools/csv.h"
#include "tools/folder_images.h"
#include "tools/latent_commands.h"
#include "tools/model_options.h"
#include "tools/numbers.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace glow {

enum class DirectionMethod { linear, mean };
template <>
struct EnumNames<DirectionMethod> {
    static constexpr const char* what = "method";
    static constexpr EnumName<DirectionMethod> values[] = {{DirectionMethod::linear, "linear"},
                                                           {DirectionMethod::mean, "mean"}};
};

namespace {

struct DirectionOptions {
    ModelOptions model;
    DataOptions data;
    std::string positive, negative;     // by class
    std::string attributes, attribute;  // or by column of a CSV file
    DirectionMethod method = DirectionMethod::linear;
    double ridge = 1;
    bool ridge_given = false;
    std::string output;
};

void check(const DirectionOptions& options) {
    if (options.positive.empty() == options.attributes.empty())
        throw InputError("give either --positive C (a class) or --attributes F.csv and --attribute NAME");
    if (!options.attributes.empty() && options.attribute.empty())
        throw InputError("--attributes needs --attribute NAME");
    if (options.ridge_given && options.method == DirectionMethod::mean)
        throw InputError("--ridge needs --method linear, whose classifier it regularizes; found mean");
}

constexpr std::uint8_t kWithout = 0, kWith = 1, kLeftOut = 2;

// kWith, kWithout or kLeftOut for each image, from the rows of --attributes, which give its name or, without
// a column of names, its index. unmatched: number of rows of no image.
std::vector<std::uint8_t> by_attribute(const DirectionOptions& options, const NamedImages& images,
                                       index_t& unmatched) {
    const index_t N = images.set.N;
    const CsvTable table(options.attributes);
    const std::vector<std::string>& columns = table.names();
    const bool by_name =
        !images.names.empty() && std::find(columns.begin(), columns.end(), "name") != columns.end();
    std::map<std::string, std::vector<index_t>> numbers;
    for (index_t n = 0; by_name && n < N; ++n)
        numbers[images.names[static_cast<std::size_t>(n)]].push_back(n);
    const std::size_t key = table.column(by_name ? "name" : "index"),
                      column = table.column(options.attribute);
    std::vector<std::uint8_t> has(static_cast<std::size_t>(N), kLeftOut);
    for (const CsvTable::Row& row : table.rows()) {
        const std::uint8_t value = table.number(row, column) > 0 ? kWith : kWithout;
        index_t image = N;
        if (!by_name)
            image = table.integer(row, key, 0, index_t{1} << 48);
        else if (const auto found = numbers.find(row.cells[key]); found != numbers.end()) {
            image = found->second[0];
            if (found->second.size() > 1)
                table.refuse(row.line,
                             fmt::format("{} images have the name {}; give a column index instead of name",
                                         found->second.size(), found->first));
        }
        if (image >= N) {
            ++unmatched;
            continue;
        }
        std::uint8_t& found = has[static_cast<std::size_t>(image)];
        if (found != kLeftOut && found != value)
            table.refuse(row.line, fmt::format("image {} has a different value of {} in an earlier line",
                                               image, options.attribute));
        found = value;
    }
    return has;
}

std::vector<std::uint8_t> by_label(const DirectionOptions& options, const ImageSet& set) {
    if (set.labels.empty())
        throw InputError(options.data.data + ": its images have no classes; give --attributes");
    const auto last = static_cast<std::int32_t>(set.n_classes - 1);
    const std::int32_t positive = parse_number<std::int32_t>("--positive", options.positive, 0, last);
    const std::int32_t negative =
        options.negative.empty() ? -1 : parse_number<std::int32_t>("--negative", options.negative, 0, last);
    if (negative == positive) throw InputError("--positive and --negative are the same class");
    std::vector<std::uint8_t> has;
    for (const std::int32_t label : set.labels)
        has.push_back(label == positive ? kWith : negative < 0 || label == negative ? kWithout : kLeftOut);
    return has;
}

// Images, and whether they have the attribute.
struct Examples {
    ImageSet set;
    std::vector<std::uint8_t> has;  // kWith or kWithout
    index_t unmatched = 0;          // rows of --attributes
    index_t with() const { return std::count(has.begin(), has.end(), kWith); }
};

Examples load_examples(const DirectionOptions& options, const NamedImages& images) {
    const ImageSet& set = images.set;
    Examples used{{0, set.H, set.W, set.C, {}, {}, set.n_classes}, {}};
    const std::vector<std::uint8_t> all =
        options.attributes.empty() ? by_label(options, set) : by_attribute(options, images, used.unmatched);
    for (index_t n = 0; n < set.N; ++n) {
        if (all[n] == kLeftOut) continue;
        used.set.images.insert(used.set.images.end(), set.image(n), set.image(n) + set.image_bytes());
        if (!set.labels.empty()) used.set.labels.push_back(set.labels[n]);
        used.has.push_back(all[n]);
        ++used.set.N;
    }
    const index_t with = used.with();
    if (with == 0 || with == used.set.N)
        throw InputError(
            fmt::format("a direction needs images with and without the attribute; of {} images {} have it",
                        used.set.N, with));
    return used;
}

Latent find_direction(const CommandLine& command, const DirectionOptions& options, LoadedModel& model,
                      const Examples& examples) {
    const ImageSet& set = examples.set;
    const index_t D = set.image_bytes(), batch = model.buffers().capacity;
    const bool linear = options.method == DirectionMethod::linear;
    ProgressLine progress(command, "images");
    std::vector<float> latents;
    Direction means(D);
    for (index_t first = 0; first < set.N; first += batch) {
        const index_t count = std::min(batch, set.N - first);
        ImageSet part{count, set.H, set.W, set.C, {}, {}, set.n_classes};
        part.images.assign(set.image(first), set.image(first) + count * set.image_bytes());
        if (!set.labels.empty()) part.labels.assign(&set.labels[first], &set.labels[first] + count);
        const std::vector<Latent> some = encode_all(model, part);
        for (index_t n = 0; n < count; ++n) {
            means.add(some[n], examples.has[first + n] == kWith);
            if (linear) latents.insert(latents.end(), some[n].begin(), some[n].end());
        }
        progress.show(first + count, set.N);
    }
    progress.clear();
    return linear ? linear_direction(latents, D, examples.has, options.ridge) : means.mean_difference();
}

void write_direction(const std::string& output, LoadedModel& model, Latent direction) {
    LatentWriter writer(output, model);
    const std::int32_t label = 0;
    Flow flow;
    flow.N = 1;
    flow.h = direction.data();
    flow.labels = &label;
    writer.append(flow);
    writer.commit();
}

void direction(const CommandLine& command, const DirectionOptions& options) {
    const OutputFiles outputs(command,
                              {{"--checkpoint", options.model.checkpoint},
                               {"--data", options.data.data},
                               {"--attributes", options.attributes}},
                              {{"--output", options.output}});
    refuse_other_name(options.output, "an HDF5 file of a direction");
    check(options);
    const Backend backend = options.model.open_backend(command);
    const auto checkpoint = find_checkpoint(options.model.checkpoint);
    const Examples examples = load_examples(
        options, load_images(command, options.model, options.data, checkpoint, backend.exec().threads));
    const ImageSet& set = examples.set;
    LoadedModel model = options.model.load(command, checkpoint, {set.H, set.W}, set.N, backend);
    const Latent found = find_direction(command, options, model, examples);
    double squares = 0;
    for (const double value : found) squares += value * value;
    write_direction(options.output, model, found);
    const index_t with = examples.with(), without = set.N - with;
    std::string text =
        fmt::format("{}: direction from {} with the attribute and {} without it, length {:.3f}",
                    options.output, counted(with, "image"), without, std::sqrt(squares));
    if (examples.unmatched > 0)
        text +=
            fmt::format("; no image for {} of {}", counted(examples.unmatched, "row"), options.attributes);
    nlohmann::ordered_json result = {{"output", options.output},
                                     {"method", to_string(options.method)},
                                     {"with", with},
                                     {"without", without},
                                     {"length", std::sqrt(squares)},
                                     {"checkpoint", checkpoint.string()}};
    if (!options.attributes.empty()) result["unmatched_rows"] = examples.unmatched;
    command.result(text, result);
}

}  // namespace

void add_direction(CommandLine& command) {
    const auto options = std::make_shared<DirectionOptions>();
    CLI::App* const app = command.subcommand("direction", "Find the latent direction of an attribute",
                                             [&command, options] { direction(command, *options); });
    add_model_options(*app, options->model);
    add_data_options(*app, options->data, true);
    add_size(*app, options->model, kPhotoSize);
    CLI::Option* const positive =
        app->add_option("--positive", options->positive, "Class of images with the attribute");
    app->add_option("--negative", options->negative, "Class of images without it; default: all other classes")
        ->needs(positive);
    CLI::Option* const attributes = app->add_option(
        "--attributes", options->attributes,
        "Instead, a CSV file of attributes: index,NAME,... or name,NAME,...; above 0: the image has it");
    app->add_option("--attribute", options->attribute, "Column of the CSV file")->needs(attributes);
    add_choice(*app, "--method", options->method,
               "linear (a regularized classifier's weights) or mean (difference of means)");
    app->add_option("--ridge", options->ridge, "Regularization of the classifier")
        ->check(CLI::Range(1e-6, 1e6))
        ->each([options](const std::string&) { options->ridge_given = true; });
    app->add_option("-o,--output", options->output, "File of the direction (HDF5)")->required();
}

}  // namespace glow
