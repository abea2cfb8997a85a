// The images that a command reads: a split of a data set, or the photographs in a folder as images of a
// model's size, without making a data set.
#pragma once

#include <map>
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

enum class FolderClasses {
    ignored,
    labels,  // the folders in data.data, in the order of their names, are the model's classes
};

// All photographs below data.data, or data.limit of them (the first, or as many of each class), prepared as by
// glow_data images: the largest centered part with the proportions of the model's size, scaled down. Warns of
// files that cannot be used. Throws InputError for models that are not gray or RGB, if --split was given, and
// if labels are wanted and the number of folders is not that of the model's classes.
NamedImages load_folder(const CommandLine& command, const DataOptions& data, const ModelConfig& model,
                        FolderClasses classes, int threads);

// The class of each photograph in a folder, by its path relative to the folder, as load_folder() has it. Throws
// InputError if the folders are not the model's classes.
std::map<std::string, std::int32_t> classes_of_photographs(const std::string& folder,
                                                           const ModelConfig& model);

// Loads a folder, scaled to --size if given and with labels for a conditional model, or a split of a data set,
// which must fit the checkpoint.
NamedImages load_images(const CommandLine& command, const ModelOptions& options, const DataOptions& data,
                        const std::filesystem::path& checkpoint, int threads);

// A split of a data set, for reading its images in order: left on disk, unless that is slow and the images fit
// in memory. Warns if they take much memory or do not fit. group: the processes, each of which opens the
// split.
SplitImages open_split(const CommandLine& command, const DataOptions& data, const ProcessGroup& group);

}  // namespace glow
