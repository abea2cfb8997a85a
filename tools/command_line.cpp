#include "tools/command_line.h"

#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>

#include "data/formats/hdf5_file.h"
#include "kernels/error.h"
#include "runtime/cuda.h"
#include "runtime/launcher.h"
#include "runtime/memory.h"
#include "runtime/memory_limit.h"
#include "tools/help_format.h"
#include "tools/numbers.h"
#include "tools/printable_text.h"
#include "tools/spelling.h"
#include "train/early_signals.h"

namespace glow {
namespace {

std::string version_text(const std::string& name) {
    std::string text = fmt::format("{} {}", name, glow_version());
    for (const auto& [library, version] : library_versions())
        text += fmt::format("\n{:<9}{}", library, version);
    return text + fmt::format("\n{:<9}{}", "threads", describe(planned_threads(0)));
}

constexpr std::size_t kLongestName = 60;  // longer words are not compared with names

volatile std::sig_atomic_t g_closed_pipe = 0;

// Turns a closed pipe into a write error instead of ending the process. Unlike SIG_IGN, a handler is not
// inherited by programs that are started.
void survive_closed_pipes() {
    struct sigaction action {};
    sigaction(SIGPIPE, nullptr, &action);
    if (action.sa_handler == SIG_IGN) return;
    action = {};
    action.sa_handler = [](int) { g_closed_pipe = 1; };
    action.sa_flags = SA_RESTART;
    sigaction(SIGPIPE, &action, nullptr);
}

// Under a launcher all processes report the same, so only rank 0 prints. Errors of other ranks appear only if
// they come late: an error of rank 0 ends the others first.
bool is_root() {
    return detect_launch().rank == 0;
}
void let_root_report_first() {
    if (is_root()) return;
    std::signal(SIGTERM, SIG_DFL);  // which the launcher sends when rank 0 has ended
    if (take_early_signal() == SIGTERM) std::raise(SIGTERM);
    std::this_thread::sleep_for(std::chrono::seconds(3));
}

void write_text(std::FILE* file, const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), file);
}
void write_line(std::FILE* file, const std::string& text) {
    write_text(file, text + '\n');
}

// Escapes control characters only on a terminal: programs need the names of files unchanged.
std::string result_text(const std::string& text) {
    return isatty(STDOUT_FILENO) != 0 ? printable_text(text) : text;
}

// The reader of standard output has exited, as `head` does.
struct ClosedOutput : Error {
    using Error::Error;
};

constexpr const char* kThreadLimit =
    "the system cannot start more threads: end other processes, or raise the limit of this user or container "
    "(ulimit -u)";

bool is_thread_limit(const std::exception& error) {
    const auto* const failed = dynamic_cast<const std::system_error*>(&error);
    return failed != nullptr && failed->code() == std::errc::resource_unavailable_try_again;
}

// Makes sure that printed output reached its destination, which may be a full disk. NFS and quotas report that
// when a descriptor is closed, here a copy.
void flush_results() {
    errno = 0;
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) {
        const int copy = dup(STDOUT_FILENO);
        if (copy < 0 || close(copy) == 0) return;
    }
    const int error = errno;
    const std::string what = "cannot write to the standard output";
    if (g_closed_pipe != 0 || error == EPIPE) throw ClosedOutput(what);
    throw Error(error != 0 ? fmt::format("{}: {}", what, std::generic_category().message(error)) : what);
}

// The subcommand that was given, or the command itself.
const CLI::App& given_app(const CLI::App& app) {
    const auto given = app.get_subcommands();
    return given.empty() ? app : given_app(*given.front());
}

// What is wrong with the arguments. `unknown`: those that belong to no option.
std::string describe_problem(const CLI::ParseError& error, const std::vector<std::string>& unknown) {
    // CLI11 reports what is missing before what is unknown, which may be the same thing misspelled.
    if (!unknown.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
        return fmt::format("{}, found \"{}\"", error.what(), unknown.front());
    if (unknown.empty() || dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr) return error.what();
    std::string text =  // CLI11's own text has them in reverse order
        unknown.size() == 1 ? "The following argument was not expected:"
                            : "The following arguments were not expected:";
    for (const std::string& word : unknown) text += " " + word;
    return text;
}

// "glow_data images --help", of the subcommand that was given.
std::string help_command(const CLI::App& app, const std::string& name) {
    const auto given = app.get_subcommands();
    return given.empty() ? name + " --help"
                         : help_command(*given.front(), name + " " + given.front()->get_name());
}

// "; did you mean --out instead of --oout?", or nothing.
std::string did_you_mean(const CLI::App& app, const std::string& unknown) {
    const std::string word = unknown.substr(0, unknown.find('='));
    if (word.size() > kLongestName) return "";
    const CLI::App* given = &app;
    std::vector<std::string> names;
    const bool is_option = unknown.starts_with("--");
    for (;;) {
        if (is_option)
            for (const CLI::Option* const option : given->get_options())
                for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
        const auto next = given->get_subcommands();
        if (next.empty()) break;
        given = next.front();
    }
    if (!is_option)
        for (const CLI::App* const sub : given->get_subcommands({})) names.push_back(sub->get_name());
    const std::string nearest = nearest_name(word, names);
    return nearest.empty() ? "" : fmt::format("; did you mean {} instead of {}?", nearest, word);
}

// The option that a word of the command line names: "--output", "-o".
const CLI::Option* option_named(const CLI::App& app, const std::string& word) {
    for (const CLI::Option* const option : app.get_options())
        if (option->check_name(word)) return option;
    for (const CLI::App* const sub : app.get_subcommands({}))
        if (const CLI::Option* const option = option_named(*sub, word)) return option;
    return nullptr;
}

// Whether CLI11 would take the text apart as a list, if the option has several values.
bool is_list_text(std::string_view text) {
    return (text.starts_with('[') && text.ends_with(']')) || text == "{}";
}

// "-o=s.h5" would name the file "=s.h5".
void refuse_equals_sign(const CLI::App& app, const std::string& word) {
    if (word.size() < 3 || word[0] != '-' || word[1] == '-' || word[2] != '=') return;
    const CLI::Option* const option = option_named(app, word.substr(0, 2));
    if (option == nullptr || option->get_items_expected_max() == 0) return;
    const std::string value = word.substr(3);
    throw InputError(fmt::format(
        "{0}: write {1} {2}{3}", word, word.substr(0, 2), value,
        option->get_lnames().empty() ? "" : fmt::format(" or --{}={}", option->get_lnames().front(), value)));
}

[[noreturn]] void refuse_empty(const std::string& name) {
    throw InputError(fmt::format(
        "{}: expected a value, found an empty one: is a variable on the command line not set?", name));
}

// Whether the option may be given with and without a value, as --resume.
bool has_optional_value(const CLI::Option& option) {
    return option.get_items_expected_min() == 0 && option.get_items_expected_max() > 0;
}

// CLI11 takes --force=-, --force=-3 and --force= for values too.
void require_flag_value(const std::string& name, const std::string& value) {
    constexpr const char* kValues[] = {"true", "false", "1", "0", "on", "off", "yes", "no"};
    const auto matches = [&value](const char* known) { return strcasecmp(value.c_str(), known) == 0; };
    if (std::none_of(std::begin(kValues), std::end(kValues), matches))
        throw InputError(fmt::format("{}: expected true or false, found \"{}\"", name, value));
}

// "--output=" becomes "--output" and an empty word: CLI11 would take the next option for its value.
void split_empty_values(const CLI::App& app, std::vector<std::string>& words) {
    for (std::size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
        if (!words[i].starts_with("--") || words[i].find('=') != words[i].size() - 1) continue;
        const std::string name = words[i].substr(0, words[i].size() - 1);
        const CLI::Option* const option = option_named(app, name);
        if (option == nullptr || option->get_items_expected_max() == 0) continue;
        words[i] = name;
        words.insert(words.begin() + static_cast<std::ptrdiff_t>(++i), "");
    }
}

// The words of the command line. "[a,b]" becomes "./[a,b]" except as the value of an option with one value:
// CLI11 would read it as a list of two names, but a file or folder may be called that.
std::vector<std::string> words_of(const CLI::App& app, int argc, char** argv) {
    std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
    split_empty_values(app, words);
    const auto has_one_value = [&app](const std::string& name) {
        const CLI::Option* const option = name.starts_with('-') ? option_named(app, name) : nullptr;
        return option != nullptr && option->get_items_expected_max() == 1 && !option->get_allow_extra_args();
    };
    std::string before;
    for (std::string& word : words) {
        const std::string given = word;
        const bool is_value = has_one_value(before);
        if (!is_value) refuse_equals_sign(app, word);
        if (is_value && word.empty() && has_optional_value(*option_named(app, before))) refuse_empty(before);
        const std::size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
        if (!is_value && equals != std::string::npos) {
            const std::string name = word.substr(0, equals);
            const CLI::Option* const option = option_named(app, name);
            if (option != nullptr && option->get_items_expected_max() == 0)
                require_flag_value(name, word.substr(equals + 1));
        }
        if (equals != std::string::npos && is_list_text(std::string_view(word).substr(equals + 1))) {
            if (!has_one_value(word.substr(0, equals))) word.insert(equals + 1, "./");
        } else if (is_list_text(word) && !has_one_value(before)) {
            word.insert(0, "./");
        }
        before = given;
    }
    return words;
}

// Values for which empty text has a meaning of its own.
constexpr const char* kMayBeEmpty[] = {"--engines", "--algorithms"};

// Rejects empty text, as from a variable of a script that is not set: it would mean the default.
void require_values(const CLI::App& app) {
    for (const CLI::Option* const option : app.get_options()) {
        // get_name() is empty for options that --help does not list.
        const std::string name =
            option->get_lnames().empty() ? option->get_name() : "--" + option->get_lnames()[0];
        if (option->count() == 0 || kind_of(*option) != ValueKind::text ||
            option->get_items_expected_min() == 0 ||
            std::find(std::begin(kMayBeEmpty), std::end(kMayBeEmpty), name) != std::end(kMayBeEmpty))
            continue;
        for (const std::string& value : option->results())
            if (value.empty()) refuse_empty(name);
    }
    for (const CLI::App* const given : app.get_subcommands()) require_values(*given);
}

}  // namespace

CommandLine::CommandLine(std::string name, const std::string& description)
    : name_(std::move(name)), app_(description, name_) {
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->always_capture_default();
    app_.fallthrough();
    app_.formatter(std::make_shared<HelpFormat>());
    const auto program = name_;
    app_.get_help_ptr()->description("Print this text");
    app_.set_version_flag(
        "--version", [program] { return version_text(program); },
        "Print the versions of Glow and its libraries, and the default number of threads");
    app_.add_flag("--quiet", quiet_, "Print only results, warnings and errors")->default_str("");
    app_.add_flag("--json", json_, "Print the result as one JSON object")->default_str("");
}

CLI::App* CommandLine::subcommand(const std::string& name, const std::string& description,
                                  std::function<void()> run, CLI::App* parent) {
    if (parent == nullptr) parent = &app_;
    parent->require_subcommand(1);
    CLI::App* sub = parent->add_subcommand(name, description);
    sub->footer(fmt::format("--quiet, --json and --version also work here: see {} --help.", name_));
    if (run) sub->final_callback([this, run = std::move(run)] { run_ = run; });
    return sub;
}

void CommandLine::examples(const std::string& lines) {
    std::string text = "Examples:\n";
    for (const std::string& line : split_text(lines, '\n')) text += "  " + line + "\n";
    text.pop_back();
    app_.footer(text);
}

void CommandLine::result(const std::string& text, const nlohmann::ordered_json& object) const {
    clear_line();
    // Invalid UTF-8 in a name must not stop the program: replace the bytes.
    write_line(stdout, json_ ? object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                             : result_text(text));
    flush_results();
}

void CommandLine::print_diagnostic(const std::string& kind, const std::string& text) const {
    std::string line = text;
    for (char& character : line) {
        if (character == '\n' || character == '\r') character = ' ';
    }
    clear_line();
    write_line(stderr, printable_text(fmt::format("{}: {}: {}", name_, kind, line)));
}

void CommandLine::print_line(const std::string& text) const {
    if (quiet_ || leaves_messages_) return;
    clear_line();
    write_line(stderr, printable_text(text));
}

void CommandLine::draw_line(const std::string& text) const {
    std::fprintf(stderr, "\r\033[K%s", printable_text(text).c_str());
    std::fflush(stderr);
    line_drawn_ = true;
}

void CommandLine::clear_line() const {
    if (line_drawn_) std::fputs("\r\033[K", stderr);
    line_drawn_ = false;
}

void CommandLine::parse_and_run(int argc, char** argv) {
    require_decimal_numbers(app_);
    std::vector<std::string> words = words_of(app_, argc, argv);
    std::reverse(words.begin(), words.end());  // as CLI11 expects them
    try {
        app_.parse(std::move(words));
    } catch (const CLI::CallForVersion& version) {
        if (is_root()) write_line(stdout, version.what());
        return flush_results();
    } catch (const CLI::Success&) {  // --help
        if (is_root()) write_text(stdout, result_text(app_.help()));
        return flush_results();
    } catch (const CLI::ParseError& error) {
        const auto unknown = app_.remaining(true);
        const std::string hint = unknown.empty() ? "" : did_you_mean(app_, unknown.front());
        const bool subcommand = !given_app(app_).get_subcommands({}).empty() &&
                                dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
        throw InputError(fmt::format("{}{} ({} lists the {})", describe_problem(error, unknown), hint,
                                     help_command(app_, name_), subcommand ? "subcommands" : "options"));
    }
    require_values(app_);
    if (const Launch launch = detect_launch(); launch.is_one_of_several() && !allows_processes_)
        throw InputError(fmt::format(
            "{} started {} processes, each of which would do the whole work: start the command without it, or "
            "unset {} for independent processes",
            launch.launcher, launch.size > 0 ? std::to_string(launch.size) : "several", launch.variable));
    if (run_) run_();
}

int run_command(int argc, char** argv, const std::string& description,
                const std::function<void(CommandLine&)>& define) {
    survive_closed_pipes();
    CommandLine command(argc > 0 ? std::filesystem::path(argv[0]).filename().string() : "glow", description);
    try {
        define(command);
        command.parse_and_run(argc, argv);
        flush_results();
        return command.exit_status_;
    } catch (const ClosedOutput&) {
        return 1;
    } catch (const InputError& error) {
        let_root_report_first();
        command.print_diagnostic("error", error.what());
        return 2;
    } catch (const std::bad_alloc&) {
        let_root_report_first();
        const MemoryLimit limit = process_memory_limit();
        command.print_diagnostic(
            "error", limit.source.empty()
                         ? "out of memory"
                         : fmt::format("out of memory: {} {}", limit.source, format_bytes(limit.bytes)));
        return 1;
    } catch (const std::exception& error) {
        let_root_report_first();
        command.print_diagnostic("error", is_thread_limit(error) ? kThreadLimit : error.what());
        return 1;
    }
}

CLI::Option* add_device(CLI::App& app, std::string& device) {
    return app.add_option("--device", device, "auto (a GPU if available), cpu or cuda")->group("Machine");
}

Backend open_backend(const CommandLine& command, Device device, int threads, Communicator* processes) {
    const int ordinal = processes != nullptr ? device_number(processes->group(), cuda::device_count()) : 0;
    Backend backend(device, threads, ordinal, processes);
    const std::string warning = thread_warning(backend.communicator(), backend.threads());
    if (!warning.empty()) command.warn("{}", warning);
    return backend;
}

void run_on_all(const CommandLine& command, Communicator& processes, const std::function<void()>& action) {
    try {
        action();
    } catch (const std::exception& error) {
        if (processes.size() == 1) throw;
        // If the root fails too, mpirun's SIGTERM ends the other ranks before they print the same error.
        std::signal(SIGTERM, SIG_DFL);
        if (!processes.is_root()) std::this_thread::sleep_for(std::chrono::seconds(1));
        const ProcessGroup& group = processes.group();
        command.print_diagnostic(
            "error", fmt::format("rank {} on {}: {}", group.rank, group.hosts[group.rank], error.what()));
        processes.abort(dynamic_cast<const InputError*>(&error) != nullptr ? 2 : 1);
    }
}

CLI::Option* add_seed(CLI::App& app, std::uint64_t& seed, const std::string& description) {
    return app.add_option("--seed", seed, description);
}

std::vector<std::pair<std::string, std::string>> library_versions() {
    std::vector<std::pair<std::string, std::string>> versions = cuda::library_versions();
    versions.insert(versions.end(), {{"NCCL", GLOW_NCCL_VERSION},
                                     {"MPI", GLOW_MPI_VERSION},
                                     {"oneDNN", GLOW_ONEDNN_VERSION},
                                     {"HDF5", Hdf5File::library_version()}});
    return versions;
}

std::string glow_version() {
    return GLOW_VERSION;
}

}  // namespace glow
