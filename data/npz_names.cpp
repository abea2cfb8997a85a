#include "data/npz_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string_view>

#include "kernels/error.h"

namespace glow {
namespace {

constexpr unsigned kTrain = 1, kTest = 2, kUnknown = 4;

constexpr std::string_view kTrainWords[] = {"train", "training"};
constexpr std::string_view kTestWords[] = {"val",   "valid",   "validation", "validate", "test",
                                           "tests", "testing", "tst",        "eval",     "evaluation",
                                           "dev",   "holdout", "heldout"};
constexpr std::string_view kOtherWords[] = {"set",    "data",   "dataset", "batch", "batches",  "image",
                                            "images", "img",    "imgs",    "split", "part",     "file",
                                            "files",  "small",  "x",       "y",     "imagenet", "cifar",
                                            "mnist",  "celeba", "lsun",    "svhn",  "fashion"};

// Combines kTrain and kTest for a text made only of known words; kUnknown otherwise. Goes through the text from
// its end, because it may divide into words in exponentially many ways ("dataset" is also "data" and "set").
unsigned meaning(std::string_view text) {
    std::vector<unsigned> found(text.size() + 1, kUnknown);  // of the text from each position on
    found.back() = 0;
    for (std::size_t begin = text.size(); begin-- > 0;) {
        const auto try_words = [&](const auto& words, unsigned means) {
            for (const std::string_view word : words)
                if (text.substr(begin).starts_with(word))
                    if (const unsigned rest = found[begin + word.size()]; rest != kUnknown)
                        found[begin] = means | rest;
        };
        try_words(kOtherWords, 0);
        try_words(kTestWords, kTest);
        try_words(kTrainWords, kTrain);
    }
    return found.front();
}

// "ValData_64" -> val, data
std::vector<std::string> words_of(const std::string& name) {
    std::vector<std::string> words(1);
    char before = ' ';
    for (const char character : name) {
        const auto byte = static_cast<unsigned char>(character);
        const bool humps = std::islower(static_cast<unsigned char>(before)) && std::isupper(byte);
        if (!std::isalpha(byte) || humps) words.emplace_back();
        if (std::isalpha(byte)) words.back() += static_cast<char>(std::tolower(byte));
        before = character;
    }
    std::erase(words, "");
    return words;
}

}  // namespace

SplitHint split_hint_of(const std::string& name) {
    unsigned said = 0;
    bool perhaps = false;
    const std::vector<std::string> words = words_of(name);
    for (const std::string& word : words) {
        const unsigned means = meaning(word);
        if (means != kUnknown) {
            said |= means;
            continue;
        }
        const bool begins = word.starts_with("val") || word.starts_with("test");
        if (begins && &word == words.data() && std::isalpha(static_cast<unsigned char>(name[0])))
            said |= kTest;
        else if (begins || word.ends_with("val") || word.ends_with("test") ||
                 word.find("valid") != std::string::npos)
            perhaps = true;
    }
    if (said == (kTrain | kTest)) return SplitHint::both;
    if (said == kTrain) return SplitHint::train;
    if (said == kTest) return SplitHint::test;
    return perhaps ? SplitHint::perhaps_test : SplitHint::none;
}

std::vector<bool> which_are_test(const std::vector<std::filesystem::path>& files,
                                 std::vector<std::string>& warnings) {
    const bool folders_differ = std::any_of(files.begin(), files.end(), [&](const auto& file) {
        return file.parent_path() != files[0].parent_path();
    });
    std::vector<bool> test;
    for (const auto& file : files) {
        SplitHint said = split_hint_of(file.stem().string());
        if (said == SplitHint::both)
            throw InputError(fmt::format(
                "{}: its name means both training and test images; rename it so that it means one",
                file.string()));
        if ((said == SplitHint::none || said == SplitHint::perhaps_test) && folders_differ &&
            split_hint_of(file.parent_path().filename().string()) == SplitHint::test)
            said = SplitHint::test;
        if (said == SplitHint::perhaps_test)
            warnings.push_back(
                fmt::format("{}: treated as training images; if it has test images, start its name with test",
                            file.string()));
        test.push_back(said == SplitHint::test);
    }
    return test;
}

}  // namespace glow
