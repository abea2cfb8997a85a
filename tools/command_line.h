// Shared by all commands: --help --version --quiet --json, error handling, and exit statuses (0 success, 1
// run-time failure, 2 bad usage or input). Messages go to stderr, results to stdout.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/context.h"
#include "tools/program_start.h"

namespace glow {

// For JSON: null if a number is undefined.
inline nlohmann::ordered_json or_null(std::optional<double> number) {
    return number ? nlohmann::ordered_json(*number) : nlohmann::ordered_json();
}

// The command line of a program: its options, its action and its output.
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

    // Options added here show their defaults in --help; the last of a repeated option wins. Bound variables
    // must outlive the action: let it share them.
    CLI::App& app() { return app_; }
    const CLI::App& app() const { return app_; }
    const std::string& name() const { return name_; }

    // Sets the action of a command without subcommands.
    void action(std::function<void()> run) { run_ = std::move(run); }
    // Adds a subcommand and its action. For nested subcommands (`synthetic gauss`), pass the outer one. One
    // subcommand is then required. --quiet, --json and --version may follow it.
    CLI::App* subcommand(const std::string& name, const std::string& description, std::function<void()> run,
                         CLI::App* parent = nullptr);

    // Parses the arguments and runs the action. run_tool() does this; throws InputError for bad usage.
    void parse_and_run(int argc, char** argv);

    // Example commands for the end of --help, one per line.
    void examples(const std::string& lines);

    bool quiet() const { return quiet_; }
    bool json() const { return json_; }

    // From now on, prints only errors and results: another process prints the same messages and warnings.
    void leave_messages_to_root() { leaves_messages_ = true; }
    // Prints a message to stderr, unless --quiet.
    template <class... Args>
    void info(fmt::format_string<Args...> format, Args&&... args) const {
        print_line(fmt::format(format, std::forward<Args>(args)...));
    }
    // Prints "name: warning: ..." to stderr, even with --quiet.
    template <class... Args>
    void warn(fmt::format_string<Args...> format, Args&&... args) const {
        if (!leaves_messages_) print_diagnostic("warning", fmt::format(format, std::forward<Args>(args)...));
    }
    // Prints the result to stdout: `text` and a newline, or with --json the object on one line.
    void result(const std::string& text, const nlohmann::ordered_json& object) const;

    // Draws a line of progress on a terminal (stderr). It is removed before other output, or by clear_line().
    void draw_line(const std::string& text) const;
    void clear_line() const;

    // Allows a launcher such as mpirun to start several processes of the command, which share its work. Other
    // commands refuse to run as several processes, because each would do the whole work.
    void allow_processes() { allows_processes_ = true; }
    // The exit status of a success, 0 by default.
    void set_exit_status(int status) { exit_status_ = status; }

    // Prints "name: kind: text" to stderr, with newlines in text replaced by spaces.
    void print_diagnostic(const std::string& kind, const std::string& text) const;

  private:
    friend int run_command(int, char**, const std::string&, const std::function<void(CommandLine&)>&);
    void print_line(const std::string& text) const;

    std::string name_;
    CLI::App app_;
    bool quiet_ = false, json_ = false, allows_processes_ = false, leaves_messages_ = false;
    mutable bool line_drawn_ = false;
    int exit_status_ = 0;
    std::function<void()> run_;
};

// The body of main(): `define` adds options and sets the action; then the command line is parsed and the
// action runs. Returns the exit code. Errors become one line on stderr: usage and InputError return 2; Error,
// other exceptions and out of memory return 1.
int run_command(int argc, char** argv, const std::string& description,
                const std::function<void(CommandLine&)>& define);
inline int run_tool(int argc, char** argv, const std::string& description,
                    const std::function<void(CommandLine&)>& define) {
    begin_program();
    return run_command(argc, argv, description, define);
}

// Adds --device. Invalid names throw InputError; Backend reports a missing GPU.
CLI::Option* add_device(CLI::App& app, std::string& device);

// Opens the device; warns if a process gets fewer threads than requested. processes: nullptr for a single
// process; otherwise collective. Each process on a host uses a different GPU.
Backend open_backend(const CommandLine& command, Device device, int threads,
                     Communicator* processes = nullptr);

// Runs an action on every process. An error on one ends all of them, because the others may wait for it; if
// all fail with the same error, such as bad input, root reports it.
void run_on_all(const CommandLine& command, Communicator& processes, const std::function<void()>& action);

// Adds --seed.
CLI::Option* add_seed(CLI::App& app, std::uint64_t& seed, const std::string& description);

// {"cuBLAS", "no"}, ..., {"HDF5", "1.10.8"}: the libraries of this build in the order of --version.
std::vector<std::pair<std::string, std::string>> library_versions();

// "0.1.0"
std::string glow_version();

}  // namespace glow
