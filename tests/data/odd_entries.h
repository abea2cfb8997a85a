// Folder entries that are not regular files, and a user with limited permissions.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace glow {

// Names and the expected descriptions.
inline const std::vector<std::pair<std::string, std::string>> kOddEntries = {
    {"dangling", "dangling symbolic link to /nowhere/1"},
    {"far", "dangling symbolic link to "},
    {"loop", "loop of symbolic links"},
    {"there", "loop of symbolic links"},
    {"pipe", "a named pipe, not a file"},
    {"to-pipe", "a named pipe, not a file"},
    {"socket", "a socket, not a file"},
    {"device", "a device, not a file"},
};

// Creates them, with `end` appended to each name.
inline void make_odd_entries(const std::filesystem::path& folder, const std::string& end,
                             const std::string& before = "") {
    namespace fs = std::filesystem;
    const auto name = [&](const std::string& text) { return before + text + end; };
    fs::create_symlink("/nowhere/1", folder / name("dangling"));
    fs::create_symlink(name("dangling"), folder / name("far"));
    fs::create_symlink(name("loop"), folder / name("loop"));
    fs::create_symlink("." + name("back"), folder / name("there"));
    fs::create_symlink(name("there"), folder / ("." + name("back")));
    fs::create_symlink("/dev/null", folder / name("device"));
    ASSERT_EQ(mkfifo((folder / name("pipe")).c_str(), 0600), 0);
    fs::create_symlink(name("pipe"), folder / name("to-pipe"));
    const int socket_file = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (folder / name("socket")).c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(socket_file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    close(socket_file);
}

// While it lives, root has the rights of a user who can list the folder but owns nothing.
class Unprivileged {
  public:
    explicit Unprivileged(const std::filesystem::path& folder) : user_(geteuid()) {
        using std::filesystem::perms;  // root's group stays
        std::filesystem::permissions(
            folder, perms::group_read | perms::group_exec | perms::others_read | perms::others_exec,
            std::filesystem::perm_options::add);
        if (user_ == 0) {
            EXPECT_EQ(seteuid(65534), 0);
        }
    }
    ~Unprivileged() {
        if (user_ == 0) {
            EXPECT_EQ(seteuid(0), 0);
        }
    }
    Unprivileged(const Unprivileged&) = delete;
    Unprivileged& operator=(const Unprivileged&) = delete;

  private:
    uid_t user_;
};

}  // namespace glow
