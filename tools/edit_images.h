// Input and output of latent edits: images from a data set or picture files, the model, and a sheet of
// decoded images.
#pragma once

#include <string>
#include <vector>

#include "data/grid.h"
#include "inference/latent_images.h"
#include "inference/loaded_model.h"
#include "inference/sample_health.h"
#include "tools/model_options.h"
#include "tools/output_files.h"

namespace glow {

struct EditOptions {
    ModelOptions model;
    std::string data, split = "test", images;  // image indices, "3,5"
    std::vector<std::string> files;            // or these: pictures, folders of photographs
    std::string label;                         // class of all images
    std::string output, frames;
    index_t steps = 8;
    bool steps_given = false;

    // The names given to --files. Commas separate names too, except in the name of an existing file.
    std::vector<std::string> file_words() const;
    // Checks the outputs; `inputs`: other files that a command reads besides the checkpoint and images.
    OutputFiles claim_outputs(const CommandLine& command, std::vector<NamedPath> inputs = {}) const;
};
void add_edit_options(CLI::App& app, EditOptions& options);
CLI::Option* add_steps(CLI::App& app, EditOptions& options);

class EditInput {
  public:
    EditInput(const CommandLine& command, const EditOptions& options);

    LoadedModel& model() { return model_; }
    const ModelConfig& config() { return model_.glow().config(); }
    index_t N() const { return set_.N; }
    std::vector<Latent> encode() { return encode_all(model_, set_); }
    std::int32_t label(index_t n) const { return set_.labels.empty() ? 0 : set_.labels[n]; }
    std::string checkpoint() const { return checkpoint_.string(); }

  private:
    Backend backend_;
    std::filesystem::path checkpoint_;
    ImageSet set_;
    LoadedModel model_;
};

// Decoded images in sheet order, row by row.
struct EditedLatents {
    GridSize grid;
    std::vector<std::string> headings;  // of the columns; empty: none
    std::vector<Latent> latents;
    std::vector<std::int32_t> labels;  // for conditional models
    // Decoded images [N, H, W, C], and the largest value of each, as of sample(); empty before decode().
    std::vector<std::uint8_t> pixels;
    std::vector<double> largest;

    void add(Latent latent, std::int32_t label) {
        latents.push_back(std::move(latent));
        labels.push_back(label);
    }
};
// Decodes the images, unless already decoded. Returns how many are not finite.
SampleHealth decode(const CommandLine& command, EditInput& input, EditedLatents& edited);

// Throws InputError if --output is a picture that would be too large, before there are images.
void check_sheet(const EditOptions& options, EditInput& input, GridSize grid,
                 const std::vector<std::string>& headings = {});

// Decodes and writes a PNG picture or /images of NAME.h5, and optionally single images to the folder of
// --frames. result: the command's JSON result.
void write_edited(const CommandLine& command, const EditOptions& options, EditInput& input,
                  EditedLatents& edited, nlohmann::ordered_json result);

}  // namespace glow
