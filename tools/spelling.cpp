#include "tools/spelling.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <vector>

#include "train/run_folder.h"

namespace glow {

namespace fs = std::filesystem;

std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> before, last(b.size() + 1), now(b.size() + 1);
    std::iota(last.begin(), last.end(), 0);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        now[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = std::min(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
    }
    return last[b.size()];
}

std::string nearest_name(std::string text, const std::vector<std::string>& names) {
    const auto plain = [](std::string name) {
        std::transform(name.begin(), name.end(), name.begin(),
                       [](unsigned char c) { return c == '_' ? '-' : static_cast<char>(std::tolower(c)); });
        return name.substr(std::min(name.find_first_not_of('-'), name.size()));
    };
    text = plain(text);
    // "temp" for temperature, unless several names begin like that
    const auto begins = [&](const std::string& name) { return plain(name).starts_with(text); };
    const auto whole = std::find_if(names.begin(), names.end(), begins);
    if (text.size() >= 3 && std::count_if(names.begin(), names.end(), begins) == 1) return *whole;
    std::string nearest;
    std::size_t least = text.size() / 3 + 2;  // more edits than this make it another word
    for (const std::string& name : names) {
        const std::size_t changes = edit_distance(text, plain(name));
        if (changes >= least) continue;
        least = changes;
        nearest = name;
    }
    if (!nearest.empty()) return nearest;
    for (const std::string& name : names)  // "batch-size" for batch
        if (text.starts_with(plain(name) + "-")) nearest = name;
    return nearest;
}

namespace {

struct Found {
    std::size_t changes;
    fs::path path;
};

// Follows `names`, from `first` on, below a folder. A name may lead to folders spelled almost like it.
void follow(const fs::path& folder, const std::vector<std::string>& names, std::size_t first,
            std::size_t changes, std::optional<Found>& best) {
    if (best && best->changes <= changes) return;
    if (first == names.size()) {
        if (RunFolder(folder).holds_run()) best = Found{changes, folder};
        return;
    }
    const std::string& name = names[first];
    std::error_code failed;
    if (name == "." || name == ".." || name == "/" || name.empty())
        return follow(folder / name, names, first + 1, changes, best);
    for (const fs::directory_entry& entry :
         fs::directory_iterator(folder.empty() ? fs::path(".") : folder, failed)) {
        const std::string other = entry.path().filename().string();
        const std::size_t more = edit_distance(name, other);
        std::error_code ignored;
        if (more <= name.size() / 3 + 1 && entry.is_directory(ignored))
            follow(folder / other, names, first + 1, changes + more, best);
    }
}

std::optional<Found> nearest_run(const fs::path& missing) {
    std::vector<std::string> names;
    for (const fs::path& name : missing) names.push_back(name.string());
    std::optional<Found> best;
    follow({}, names, 0, 0, best);
    return best;
}

}  // namespace

std::optional<fs::path> similar_run(const fs::path& missing) {
    const std::optional<Found> found = nearest_run(missing);
    if (!found) return {};
    return found->path;
}

std::optional<fs::path> mistaken_run(const fs::path& missing) {
    const std::optional<Found> found = nearest_run(missing);
    const auto without_digits = [](std::string text) {
        std::erase_if(text, [](unsigned char c) { return std::isdigit(c) != 0; });
        return text;
    };
    const std::size_t length = missing.filename().string().size();
    if (!found || 3 * found->changes >= length ||
        without_digits(found->path.string()) == without_digits(missing.string()))
        return {};
    return found->path;
}

}  // namespace glow
