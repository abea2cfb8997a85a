// Whether an archive holds training or test images, by its name: data sets come as train_data_batch_1.npz and
// val_data.npz, and programs and people write the same words in other ways.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace glow {

enum class SaidPart { nothing, train, test, both, perhaps_test };

// What a name says, in any case, by its words: "Validation", "imagenet_VAL_64", "x_test", "evalSet",
// "valdata"; also every name that begins with val or test. perhaps_test: a word that only holds one of them
// ("latest").
SaidPart said_part(const std::string& name);

// Of each file, whether it is test images. A file whose name says nothing is what its folder's name says,
// where the files are in several folders (train/batch_1.npz, val/batch_1.npz); else training images. Adds a
// line to `warnings` for a name that perhaps says test. InputError for a name that says both.
std::vector<bool> which_are_test(const std::vector<std::filesystem::path>& files,
                                 std::vector<std::string>& warnings);

}  // namespace glow
