// Classifies archives as training or test images by name, in the spellings in common use
// (train_data_batch_1.npz, val_data.npz).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace glow {

enum class SplitHint { none, train, test, both, perhaps_test };

// Classifies a name by its words, in any case: "Validation", "imagenet_VAL_64", "x_test", "evalSet",
// "valdata", or any name that begins with val or test. perhaps_test: a word only contains one of them
// ("latest").
SplitHint split_hint_of(const std::string& name);

// Returns for each file whether it has test images. If its name is neutral and the files are in several
// folders, the folder's name decides (train/batch_1.npz, val/batch_1.npz); otherwise it is training. Adds a
// line to `warnings` for ambiguous names. Throws InputError for a name that means both.
std::vector<bool> which_are_test(const std::vector<std::filesystem::path>& files,
                                 std::vector<std::string>& warnings);

}  // namespace glow
