// What every command shares: --help --version --quiet --json, one place that catches errors, and the exit
// codes (0 success, 1 failure at run time, 2 bad usage or input). Human text goes to stderr, results to
// stdout.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "runtime/context.h"

namespace glow {

// The command line of one program: its options, what to run, and where its output goes.
//
//     int main(int argc, char** argv) {
//         return glow::run_tool(argc, argv, "Measures bits/dim.", [](glow::CommandLine& command) {
//             auto options = std::make_shared<Options>();
//             command.app().add_option("--limit", options->limit, "...")->check(CLI::PositiveNumber);
//             command.action([options, &command] { evaluate(*options, command); });
//         });
//     }
class CommandLine {
  public:
    CommandLine(std::string name, const std::string& description);
    CommandLine(const CommandLine&) = delete;
    CommandLine& operator=(const CommandLine&) = delete;

    // Options added here show their defaults in --help, and the last one of a repeated option wins. The
    // variables they are bound to must live as long as the action: let it share them.
    CLI::App& app() { return app_; }
    const std::string& name() const { return name_; }

    // What runs once the command line is read, for a command without subcommands.
    void action(std::function<void()> run) { run_ = std::move(run); }
    // A subcommand and what runs when it is chosen. Below another one (`synthetic gauss`): pass the outer
    // one. One of the subcommands is then required. --quiet, --json and --version may stand after it.
    CLI::App* subcommand(const std::string& name, const std::string& description, std::function<void()> run,
                         CLI::App* parent = nullptr);

    bool quiet() const { return quiet_; }
    bool json() const { return json_; }

    // A line for people, on stderr, unless --quiet.
    template <class... Args>
    void say(fmt::format_string<Args...> format, Args&&... args) const {
        say_line(fmt::format(format, std::forward<Args>(args)...));
    }
    // A warning, on stderr, also with --quiet: "name: warning: ...".
    template <class... Args>
    void warn(fmt::format_string<Args...> format, Args&&... args) const {
        complain("warning", fmt::format(format, std::forward<Args>(args)...));
    }
    // The result, on stdout: `text` (a newline is added), or with --json the object, on one line.
    void result(const std::string& text, const nlohmann::ordered_json& object) const;

    // "name: kind: text" on stderr, newlines in text replaced by spaces.
    void complain(const std::string& kind, const std::string& text) const;

  private:
    friend int run_tool(int, char**, const std::string&, const std::function<void(CommandLine&)>&);
    void say_line(const std::string& text) const;
    void parse_and_run(int argc, char** argv);

    std::string name_;
    CLI::App app_;
    bool quiet_ = false, json_ = false;
    std::function<void()> run_;
};

// The whole of a main(): `define` adds options and says what to run; then the command line is read and it
// runs. Returns the exit code. Errors become one line on stderr: usage, InputError: 2; Error, any other
// exception, out of memory: 1.
int run_tool(int argc, char** argv, const std::string& description,
             const std::function<void(CommandLine&)>& define);

// The option --device and what it means; InputError for a name that is none. A GPU that is not there is
// refused by Backend, with the reason.
CLI::Option* add_device(CLI::App& app, std::string& device);

// Opens the device; warns where it gets fewer threads than asked for.
Backend open_backend(const CommandLine& command, Device device, int threads);

// The option --seed.
CLI::Option* add_seed(CLI::App& app, std::uint64_t& seed, const std::string& description);

// {"cuBLAS", "no"}, ..., {"HDF5", "1.10.8"}: the libraries of this build, in the order of --version.
std::vector<std::pair<std::string, std::string>> library_versions();

// "0.1.0"
std::string glow_version();

}  // namespace glow
