#include "runtime/cgroup.h"

#include <fstream>
#include <sstream>

namespace glow {
namespace {

namespace fs = std::filesystem;

bool lists(const std::string& words, const std::string& word) {
    return ("," + words + ",").find("," + word + ",") != std::string::npos;
}

// This process's folder below a cgroup mount, which may show only part of the tree.
fs::path below_mount(const fs::path& cgroup, const fs::path& mounted) {
    const fs::path relative = cgroup.lexically_relative(mounted);
    return relative.empty() || *relative.begin() == ".." ? fs::path(".") : relative;
}

}  // namespace

void visit_cgroups(const fs::path& root, const std::string& controller,
                   const std::function<void(const fs::path& folder)>& visit) {
    // Lines of /proc/self/cgroup: "id:controllers:path"; version 2: "0::path".
    std::string path1, path2;
    std::ifstream cgroups(root / "proc/self/cgroup");
    for (std::string line; std::getline(cgroups, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (controllers.empty()) path2 = line.substr(second + 1);
        if (lists(controllers, controller)) path1 = line.substr(second + 1);
    }
    // Lines of mountinfo: "id parent device root mount-point options ... - type source options".
    std::ifstream mounts(root / "proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        const std::size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        std::istringstream left(line.substr(0, dash)), right(line.substr(dash + 3));
        std::string word, mounted, point, type, source, options;
        left >> word >> word >> word >> mounted >> point;
        right >> type >> source >> options;
        const bool version1 = type == "cgroup" && lists(options, controller);
        if (!version1 && type != "cgroup2") continue;
        const std::string& path = version1 ? path1 : path2;
        if (path.empty()) continue;
        fs::path folder = (root / fs::path(point).relative_path()).lexically_normal();
        visit(folder);
        for (const fs::path& name : below_mount(path, mounted)) {
            folder /= name;
            visit(folder);
        }
    }
}

}  // namespace glow
