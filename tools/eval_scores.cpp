#include "tools/eval_scores.h"

#include <algorithm>
#include <fstream>
#include <optional>

#include "data/formats/output_name.h"
#include "data/grid.h"
#include "inference/message_text.h"
#include "inference/scores.h"
#include "inference/statistics.h"
#include "kernels/error.h"
#include "tools/csv.h"
#include "tools/numbers.h"

namespace glow {
namespace {

std::vector<double> difference(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> result(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) result[i] = a[i] - b[i];
    return result;
}

// The score that --sort-by selects. png: PNG sizes of the images in bits/dim.
std::vector<double> order_score(const ScoreOptions& options, const ScoredImages& scored,
                                const std::vector<double>& png) {
    return options.sort_by == ScoreOrder::corrected ? difference(scored.bits, png) : scored.bits;
}

// Writes rows index,bpd[,label][,png_bpd,corrected][,name] in file order or by ascending score. png: PNG
// sizes of the images, written with --complexity and if they determine the order.
void write_per_image(const std::string& path, const ScoreOptions& options, const ScoredImages& scored,
                     std::vector<double> png) {
    const std::vector<double>& bits = scored.bits;
    const std::vector<std::int32_t>& labels = scored.images.set().labels;
    std::vector<index_t> order(bits.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<index_t>(i);
    if (options.sort) order = argsort(order_score(options, scored, png));
    if (!options.complexity && options.sort_by != ScoreOrder::corrected) png.clear();
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        std::ofstream file(temporary);
        file << "index,bpd" << (labels.empty() ? "" : ",label") << (png.empty() ? "" : ",png_bpd,corrected")
             << (scored.names.empty() ? "" : ",name") << "\n";
        for (const index_t i : order) {
            file << fmt::format("{},{:.9g}", i, bits[i]);
            if (!labels.empty()) file << fmt::format(",{}", labels[i]);
            if (!png.empty()) file << fmt::format(",{:.9g},{:.9g}", png[i], bits[i] - png[i]);
            if (!scored.names.empty()) file << "," << quoted_cell(scored.names[i]);
            file << "\n";
        }
        close_written(file, path);
    });
}

// How many images of each kind are shown, and how. If there are few, no image is shown as both kinds.
struct ExtremesLayout {
    index_t lowest, highest, columns = 1, scale = 0;

    ExtremesLayout(const ScoreOptions& options, const ScoredImages& scored)
        : lowest(std::min(options.show, (scored.images.N() + 1) / 2)),
          highest(std::min(options.show, scored.images.N() / 2)) {
        while (columns * columns < lowest) ++columns;
        const index_t side = std::min(scored.images.set().H, scored.images.set().W);
        if (!scored.names.empty()) scale = (127 + side) / side;  // about as wide as a name
    }
};

// The image's name, or its number.
std::string caption(const ScoredImages& scored, index_t image) {
    return scored.names.empty() ? fmt::format("image {}", image)
                                : short_name(scored.names[static_cast<std::size_t>(image)]);
}

// The images with the lowest and the highest score side by side, most extreme first, each below its score and
// caption.
void write_extremes(const ScoreOptions& options, const ScoredImages& scored,
                    const std::vector<double>& score) {
    const SplitImages& images = scored.images;
    std::vector<index_t> order = argsort(score);
    const ExtremesLayout layout(options, scored);
    const ImageSet& shape = images.set();
    const auto panel = [&](const std::string& label, index_t shown) {
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(shape.image_bytes()));
        std::vector<Panel> pictures;
        for (index_t n = 0; n < shown; ++n) {
            const auto image = static_cast<std::size_t>(order[static_cast<std::size_t>(n)]);
            images.gather(&order[static_cast<std::size_t>(n)], 1, pixels.data());
            const std::string text = fmt::format("{:.4f}\n{}", score[image], caption(scored, order[n]));
            pictures.push_back(
                {text, tile_images(pixels.data(), 1, shape.H, shape.W, shape.C, {1, 1}, layout.scale)});
        }
        return Panel{label, side_by_side(pictures, layout.columns)};
    };
    const bool corrected = options.sort_by == ScoreOrder::corrected;
    std::vector<Panel> panels = {panel(corrected ? "least odd" : "most likely", layout.lowest)};
    std::reverse(order.begin(), order.end());
    if (layout.highest > 0) panels.push_back(panel(corrected ? "oddest" : "least likely", layout.highest));
    write_png(options.extremes, side_by_side(panels));
}

}  // namespace

std::string short_name(const std::string& name) {
    constexpr std::size_t kLetters = 14;
    const std::string stem = std::filesystem::path(name).replace_extension().string();
    const std::string& shown = name.ends_with(']') ? name : stem;  // a square's place, not a suffix
    std::vector<std::size_t> letters;                              // where the characters of UTF-8 begin
    for (std::size_t i = 0; i < shown.size(); ++i)
        if ((static_cast<unsigned char>(shown[i]) & 0xc0) != 0x80) letters.push_back(i);
    if (letters.size() <= kLetters) return shown;
    return ".." + shown.substr(letters[letters.size() - kLetters + 2]);
}

void check_pictures(const ScoreOptions& options, const ScoredImages& scored) {
    if (options.extremes.empty()) return;
    const ExtremesLayout layout(options, scored);
    const ImageSet& shape = scored.images.set();
    std::string widest;
    for (index_t n = 0; n < scored.images.N(); ++n)
        if (const std::string other = caption(scored, n); other.size() > widest.size()) widest = other;
    const PanelSize picture{"00.0000\n" + widest,  // about as wide as a score
                            tiled_size(shape.H, shape.W, {1, 1}, layout.scale)};
    std::vector<PanelSize> panels;
    for (const index_t shown : {layout.lowest, layout.highest})
        if (shown > 0)
            panels.push_back({"most likely", side_by_side_size(std::vector<PanelSize>(
                                                                   static_cast<std::size_t>(shown), picture),
                                                               layout.columns)});
    side_by_side_size(panels);
}

void ScoreOptions::check() const {
    if (sort_by == ScoreOrder::corrected && !sort && extremes.empty())
        throw InputError("--sort-by corrected needs --sort or --extremes, whose order it sets");
    if (sort && per_image.empty()) throw InputError("--sort needs --per-image, whose lines it orders");
    if (!against_per_image.empty() && against.empty())
        throw InputError("--against-per-image needs --against, the other data set");
    if (against_split_given && DataOptions{against}.is_folder())
        throw InputError(fmt::format("--against-split is for data sets, but {} is a folder", against));
}

void ScoreOptions::check_names() const {
    if (!extremes.empty()) require_png_name(extremes);
    for (const std::string* const path : {&per_image, &against_per_image})
        refuse_other_name(*path, "a CSV file");
}

std::vector<NamedPath> ScoreOptions::outputs() const {
    std::vector<NamedPath> named = {
        {"--per-image", per_image}, {"--extremes", extremes}, {"--against-per-image", against_per_image}};
    std::erase_if(named, [](const NamedPath& output) { return output.path.empty(); });
    return named;
}

void add_score_options(CLI::App& app, ScoreOptions& options) {
    app.add_option("--per-image", options.per_image, "Write every image's bits/dim to a CSV file");
    app.add_flag("--sort", options.sort, "Sort the CSV file, most likely image first");
    add_choice(
        app, "--sort-by", options.sort_by,
        "Order of --sort and --extremes: bpd, or corrected: bits/dim minus the PNG size in bits/dim, which is "
        "high for odd images");
    app.add_flag(
        "--complexity", options.complexity,
        "Add the PNG size in bits/dim, and bits/dim minus that: a score that does not favor smooth images");
    CLI::Option* const extremes =
        app.add_option("--extremes", options.extremes, "Draw the most and least likely images, NAME.png");
    app.add_option("--show", options.show, "Images of each kind in the picture")
        ->check(CLI::Range(1, 400))
        ->needs(extremes);
    CLI::Option* const against = app.add_option(
        "--against", options.against,
        "Another data set: prints how well its images can be told from those of --data (AUROC)");
    app.add_option("--against-split", options.against_split, "Split of the other data set")
        ->needs(against)
        ->each([&options](const std::string&) { options.against_split_given = true; });
    app.add_option("--against-per-image", options.against_per_image,
                   "Write every image's bits/dim in the data set of --against to a CSV file");
}

namespace {

// Compares another data set's scores with ours. png: PNG sizes of our images.
void compare(const ScoreOptions& options, int n_bits, const std::vector<double>& bits,
             const std::vector<double>& png, const ScoredImages& others, EvalResult& result) {
    const std::vector<double> other_png = png_bits_per_dim(others.images, n_bits);
    if (!options.against_per_image.empty())
        write_per_image(options.against_per_image, options, others, other_png);
    const double plain = auroc(bits, others.bits),
                 corrected = auroc(difference(bits, png), difference(others.bits, other_png));
    const Mean mean = mean_of(others.bits.data(), others.images.N());
    result.text += fmt::format(
        "\nagainst {0} of {1}: {2} bits/dim"
        "\nAUROC: {3:.4f} by bits/dim, {4:.4f} by bits/dim minus the PNG size (probability that an image of {1} has "
        "the higher score)",
        counted(mean.count, DataOptions{options.against, options.against_split}.what()), options.against,
        mean_text(mean), plain, corrected);
    result.json["against"] = {
        {"data", options.against},     {"split", options.against_split},  {"images", mean.count},
        {"bpd", mean.value},           {"stderr", or_null(mean.error())}, {"auroc", plain},
        {"auroc_corrected", corrected}};
}

}  // namespace

void use_scores(const ScoreOptions& options, int n_bits, const ScoredImages& scored,
                const ScoredImages* others, EvalResult& result) {
    std::vector<double> png;
    if (options.complexity || options.sort_by == ScoreOrder::corrected || others != nullptr)
        png = png_bits_per_dim(scored.images, n_bits);
    if (!options.per_image.empty()) write_per_image(options.per_image, options, scored, png);
    if (!options.extremes.empty()) write_extremes(options, scored, order_score(options, scored, png));
    if (!png.empty()) {
        const std::optional<double> r = correlation(scored.bits, png);
        if (r) result.text += fmt::format("\ncorrelation of bits/dim with the PNG size: {:.3f}", *r);
        result.json["png_correlation"] = or_null(r);
    }
    if (others != nullptr) compare(options, n_bits, scored.bits, png, *others, result);
}

}  // namespace glow
