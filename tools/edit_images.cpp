#include "tools/edit_images.h"

#include <algorithm>

#include "data/formats/output_name.h"
#include "data/formats/photo.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "tools/folder_images.h"
#include "tools/image_output.h"
#include "tools/numbers.h"
#include "tools/progress.h"

namespace glow {
namespace {

ImageSet from_data(const EditOptions& options, const std::filesystem::path& checkpoint) {
    DataOptions{options.data, options.split}.require_fitting(options.model, checkpoint);
    const DatasetReader reader(options.data);
    const DatasetInfo& info = reader.info();
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

// Crops and scales larger images to the model's size.
ImageSet from_files(const CommandLine& command, const EditOptions& options, const ModelConfig& model,
                    int threads) {
    ImageSet set{0, model.image_height, model.image_width, model.channels, {}, {}, 0};
    for (const std::string& file : options.file_words()) {
        const DataOptions folder{file};
        if (folder.is_folder()) {
            const ImageSet some = load_folder(command, folder, model, FolderClasses::ignored, threads).set;
            set.images.insert(set.images.end(), some.images.begin(), some.images.end());
            set.N += some.N;
            continue;
        }
        if (model.channels != 1 && model.channels != 3)
            throw InputError("--files: requires a model with 1 or 3 channels");
        const Image image = read_photo(file, model.channels);
        if (image.H < set.H || image.W < set.W)
            throw InputError(fmt::format("{}: has {}x{} pixels, fewer than {}x{}; --size sets another size",
                                         file, image.H, image.W, set.H, set.W));
        set.images.resize(set.images.size() + static_cast<std::size_t>(set.image_bytes()));
        crop_and_shrink(image, {set.H, set.W}, set.images.data() + set.N * set.image_bytes());
        ++set.N;
    }
    return set;
}

ImageSet chosen_images(const CommandLine& command, const EditOptions& options,
                       const std::filesystem::path& checkpoint, int threads) {
    const ModelConfig model = options.model.config(checkpoint);
    if (DataOptions{options.data}.is_folder())
        throw InputError(
            fmt::format("--data {0}: expected a data set, found a folder; for photographs use --files {0}",
                        options.data));
    if (options.files.empty() == options.data.empty())
        throw InputError("give either --data with --images or --files");
    ImageSet set =
        options.files.empty() ? from_data(options, checkpoint) : from_files(command, options, model, threads);
    if (!model.y_cond) set.labels.clear();
    if (!options.label.empty()) {
        if (!model.y_cond)
            throw InputError(
                fmt::format("--class {}: the model is not conditional on classes", options.label));
        const std::int32_t label = parse_number<std::int32_t>("--class", options.label, 0,
                                                              static_cast<std::int32_t>(model.n_classes) - 1);
        set.labels.assign(static_cast<std::size_t>(set.N), label);
    }
    if (model.y_cond && set.labels.empty())
        throw InputError("the model is conditional on classes, but files have none: give --class");
    return set;
}

// One grid, or a panel for each column below its heading.
Image sheet_of(const EditedLatents& edited, const ModelConfig& model) {
    const auto [rows, columns] = edited.grid;
    const index_t H = model.image_height, W = model.image_width, C = model.channels, D = H * W * C;
    if (edited.headings.empty())
        return tile_images(edited.pixels.data(), rows * columns, H, W, C, edited.grid);
    std::vector<Panel> panels;
    for (index_t column = 0; column < columns; ++column) {
        std::vector<std::uint8_t> pixels;
        for (index_t row = 0; row < rows; ++row) {
            const std::uint8_t* const image = edited.pixels.data() + (row * columns + column) * D;
            pixels.insert(pixels.end(), image, image + D);
        }
        panels.push_back({edited.headings.at(static_cast<std::size_t>(column)),
                          tile_images(pixels.data(), rows, H, W, C, {rows, 1})});
    }
    return side_by_side(panels);
}

}  // namespace

std::vector<std::string> EditOptions::file_words() const {
    std::vector<std::string> words;
    std::error_code ignored;
    for (const std::string& word : files) {
        if (std::filesystem::exists(word, ignored)) {
            words.push_back(word);
            continue;
        }
        for (const std::string& part : split_text(word)) words.push_back(part);
    }
    return words;
}

OutputFiles EditOptions::claim_outputs(const CommandLine& command, std::vector<NamedPath> inputs) const {
    inputs.push_back({"--checkpoint", model.checkpoint});
    inputs.push_back({"--data", data});
    for (const std::string& file : file_words()) inputs.push_back({"--files", file});
    OutputFiles outputs(command, inputs, {{"--output", output}});
    if (!frames.empty()) outputs.add_folder({"--frames", frames});
    require_png_or_hdf5_name(output);
    refuse_other_name(frames, "a folder of PNG files");
    return outputs;
}

void add_edit_options(CLI::App& app, EditOptions& options) {
    add_model_options(app, options.model);
    add_size(app, options.model, kPhotoSize);
    CLI::Option* const data = app.add_option("--data", options.data, "Data set (HDF5)");
    app.add_option("--split", options.split, "train, valid or test")->needs(data);
    app.add_option("--images", options.images, "Indices of images, separated by commas; default: 0")
        ->needs(data);
    app.add_option("--files", options.files,
                   "Photographs, or folders of them, instead of --data: --files A.png B.png")
        ->expected(-1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--class", options.label,
                   "Class of all images, for conditional models; default: the data set's");
    app.add_option("-o,--output", options.output, "NAME.png: a sheet; NAME.h5: images in /images")
        ->required();
    app.add_option("--frames", options.frames, "Folder to write each image to as a PNG file");
}

CLI::Option* add_steps(CLI::App& app, EditOptions& options) {
    return app.add_option("--steps", options.steps, "Images per row")
        ->check(CLI::Range(1, 1000))
        ->each([&options](const std::string&) { options.steps_given = true; });
}

EditInput::EditInput(const CommandLine& command, const EditOptions& options)
    : backend_(options.model.open_backend(command)),
      checkpoint_(find_checkpoint(options.model.checkpoint)),
      set_(chosen_images(command, options, checkpoint_, backend_.exec().threads)),
      model_(options.model.load(command, checkpoint_, {set_.H, set_.W}, options.model.batch, backend_)) {}

SampleHealth decode(const CommandLine& command, EditInput& input, EditedLatents& edited) {
    if (edited.pixels.empty()) {
        ProgressLine progress(command, "images");
        edited.pixels =
            decode_all(input.model(), edited.latents,
                       input.config().y_cond ? edited.labels : std::vector<std::int32_t>(), &edited.largest,
                       [&](index_t done) { progress.show(done, std::ssize(edited.latents)); });
    }
    SampleHealth found;
    found.add(std::ssize(edited.largest), edited.largest.data());
    return found;
}

void check_sheet(const EditOptions& options, EditInput& input, GridSize grid,
                 const std::vector<std::string>& headings) {
    if (is_hdf5_name(options.output)) return;
    const index_t H = input.config().image_height, W = input.config().image_width;
    tiled_size(H, W, grid);
    std::vector<PanelSize> columns;
    for (const std::string& heading : headings)
        columns.push_back({heading, tiled_size(H, W, {grid.rows, 1})});
    if (!columns.empty()) side_by_side_size(columns);
}

void write_edited(const CommandLine& command, const EditOptions& options, EditInput& input,
                  EditedLatents& edited, nlohmann::ordered_json result) {
    const ModelConfig& model = input.config();
    const index_t N = std::ssize(edited.latents);
    if (!options.frames.empty()) refuse_other_pictures({"--frames", options.frames}, N);
    const SampleHealth found = decode(command, input, edited);
    std::vector<std::uint8_t>& pixels = edited.pixels;
    if (found.any()) command.warn("images: {}", found.text());
    cross_out_not_finite(model, N, edited.largest.data(), pixels.data());
    if (is_hdf5_name(options.output)) {
        ImageSink sink(options.output, model);
        sink.append(pixels.data(), N);
        sink.commit();
    } else {
        write_png(options.output, sheet_of(edited, model));
    }
    if (!options.frames.empty()) PngFolder(options.frames, model).append(pixels.data(), N);
    result["output"] = options.output;
    result["rows"] = edited.grid.rows;
    result["columns"] = edited.grid.columns;
    result["images"] = N;
    result["checkpoint"] = input.checkpoint();
    command.result(fmt::format("{}: {} of {}", options.output, counted(edited.grid.rows, "row"),
                               counted(edited.grid.columns, "image")),
                   result);
}

}  // namespace glow
