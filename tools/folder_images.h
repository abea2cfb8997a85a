// The images that a command reads: a split of a data set, or the photographs in a folder as images of a
// model's size, without making a data set.
#pragma once

#include <string>
#include <vector>

#include "runtime/communicator.h"
#include "tools/model_options.h"

namespace glow {

struct NamedImages {
    ImageSet set;
    // [N] paths relative to the folder, or names from the data set; empty if it has none.
    std::vector<std::string> names;
};

// All photographs below data.data, or the first data.limit, prepared as by glow_data images: the largest
// centered part with the proportions of the model's size, scaled down. Warns of files that cannot be used.
// Throws InputError for models that are not gray or RGB, or conditional on classes, and if --split was given.
NamedImages load_folder(const CommandLine& command, const DataOptions& data, const ModelConfig& model,
                        int threads);

// Loads a folder, scaled to --size if given, or a split of a data set, which must fit the checkpoint.
NamedImages load_images(const CommandLine& command, const ModelOptions& options, const DataOptions& data,
                        const std::filesystem::path& checkpoint, int threads);

// A split of a data set, for reading its images in order: left on disk, unless that is slow and the images fit
// in memory. Warns if they take much memory or do not fit. group: the processes, each of which opens the
// split.
SplitImages open_split(const CommandLine& command, const DataOptions& data, const ProcessGroup& group);

}  // namespace glow
