#include "tools/config_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "data/formats/decimal.h"
#include "kernels/error.h"
#include "tools/numbers.h"
#include "tools/spelling.h"
#include "tools/toml_document.h"
#include "train/toml_text.h"

namespace glow {
namespace {

constexpr std::size_t kMaxBytes = 1 << 16;
constexpr int kPipeMilliseconds = 30000;

// ---- The file ------------------------------------------------------------------------------------

// Formats text for one line of a message: replaces unprintable characters and truncates long text.
std::string shown(std::string_view text) {
    std::string line;
    for (const char c : text.substr(0, 60)) {
        const auto byte = static_cast<unsigned char>(c);
        line += byte < 0x20 || byte == 0x7f ? '?' : c;
    }
    while (text.size() > 60 && !line.empty() && (static_cast<unsigned char>(line.back()) & 0xc0) == 0x80)
        line.pop_back();  // do not split a character
    return text.size() > 60 ? line + "..." : line;
}

std::string_view line_of_text(std::string_view text, std::size_t number) {
    for (; number > 1 && !text.empty(); --number)
        text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
    text = text.substr(0, text.find('\n'));
    return text.ends_with('\r') ? text.substr(0, text.size() - 1) : text;
}

// Checks that need no TOML.
void require_text(const std::string& name, std::string_view text) {
    if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
        throw InputError(name + ": it is UTF-16: save it as UTF-8");
    const std::size_t valid = valid_utf8(text), zero = text.find('\0');
    const auto line_at = [&text](std::size_t position) {
        return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(position), '\n');
    };
    if (zero < valid)
        throw InputError(fmt::format("{}:{}: it contains a zero byte and is not text", name, line_at(zero)));
    if (valid < text.size()) throw InputError(fmt::format("{}:{}: it is not UTF-8", name, line_at(valid)));
    for (std::size_t at = text.find('\r'); at != std::string_view::npos; at = text.find('\r', at + 1))
        if (at + 1 == text.size() || text[at + 1] != '\n')
            throw InputError(
                fmt::format("{}:{}: a line ends with only a carriage return: save the file with line feeds",
                            name, line_at(at)));
}

// Earlier versions of Glow wrote two things that are not TOML: control characters in quotes, and seeds above
// TOML's largest integer. Their files are recognized by the first line.
std::string without_old_forms(std::string text) {
    constexpr std::string_view kFirstLine =
        "# The options of a run. Once more, elsewhere: glow_train --config THIS --out FOLDER\n";
    if (!text.starts_with(kFirstLine)) return text;
    std::string result;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string line = text.substr(begin, end - begin);
        const std::size_t equals = line.find(" = ");
        const std::string key = line.substr(0, equals);
        std::string value = equals == std::string::npos ? "" : line.substr(equals + 3);
        std::uint64_t seed = 0;
        if (key == "seed" && parse_decimal(value, seed) == std::errc() && seed > std::uint64_t{INT64_MAX})
            value = '"' + value + '"';
        const char quote = value.empty() ? '\0' : value.front();
        if (value.size() >= 2 && (quote == '\'' || quote == '"') &&
            value.find(quote, 1) == value.size() - 1 && value.find('\\') == std::string::npos)
            value = toml_string(value.substr(1, value.size() - 2));
        result += equals == std::string::npos ? line : key + " = " + value;
        if (end < text.size()) result += '\n';
        begin = end + 1;
    }
    return result;
}

// ---- Keys ----------------------------------------------------------------------------------------

// Option names in a file: as on the command line, without -- and without the --no-NAME form of flags.
std::string file_name_of(const CLI::Option& option) {
    return option.get_lnames().empty() ? "" : option.get_lnames().front();
}

std::string nearest_option(CLI::App& app, const std::string& key) {
    std::vector<std::string> names;
    for (const CLI::Option* const option : app.get_options())
        if (const std::string name = file_name_of(*option); !name.empty() && option->get_configurable())
            names.push_back(name);
    return nearest_name(key, names);
}

CLI::Option* find_option(CLI::App& app, const std::string& where, const std::string& key) {
    CLI::Option* const option = key.empty() ? nullptr : app.get_option_no_throw("--" + key);
    if (option != nullptr && !option->get_configurable())
        throw InputError(fmt::format("{}: '{}' can only be given on the command line", where, key));
    if (option != nullptr && file_name_of(*option) == key) return option;
    if (option != nullptr)
        throw InputError(
            fmt::format("{}: unknown option '{}'; write {} = false", where, key, file_name_of(*option)));
    const std::string nearest = nearest_option(app, key);
    throw InputError(nearest.empty() ? fmt::format("{}: unknown option '{}' ({} --help lists the options)",
                                                   where, shown(key), app.get_name())
                                     : fmt::format("{}: unknown option '{}'; did you mean '{}'?", where,
                                                   shown(key), nearest));
}

// ---- Values --------------------------------------------------------------------------------------

// Formats a value for messages.
std::string shown(const TomlEntry& entry) {
    switch (entry.kind) {
        case TomlKind::string:
            return '"' + shown(std::string_view(entry.text)) + '"';
        case TomlKind::array:
            return "an array";
        case TomlKind::table:
            return "a table";
        case TomlKind::date:
            return "a date or time";
        default:
            return shown(std::string_view(entry.text));
    }
}

// The value as command-line text; empty if its type does not fit.
std::optional<std::string> option_text(ValueKind kind, const TomlEntry& entry) {
    const bool text = entry.kind == TomlKind::string, integer = entry.kind == TomlKind::integer;
    bool fits = false;
    switch (kind) {
        case ValueKind::flag:
            fits = entry.kind == TomlKind::flag;
            break;
        case ValueKind::unsigned_integer: {
            // Half of the seeds exceed TOML's largest integer and are quoted.
            std::uint64_t large = 0;
            fits = integer || (text && parse_decimal(entry.text, large) == std::errc() &&
                               large > std::uint64_t{INT64_MAX});
            break;
        }
        case ValueKind::integer:
            fits = integer;
            break;
        case ValueKind::number:
            fits = integer || entry.kind == TomlKind::number;
            break;
        case ValueKind::bytes:
        case ValueKind::interval:
            fits = integer || text;
            break;
        case ValueKind::text:
            fits = text;
            break;
    }
    return fits ? std::optional(entry.text) : std::nullopt;
}

// Like CLI11's default values, but leaves the option untouched if an error occurs.
void set_option(CLI::Option& option, const std::string& where, const std::string& key,
                const std::string& text) {
    std::string problem;
    try {
        option.add_result(text);
        option.run_callback();
    } catch (const CLI::Error& error) {
        problem = error.what();
        const std::string prefix = option.get_name() + ": ";
        if (problem.starts_with(prefix)) problem.erase(0, prefix.size());
    } catch (const InputError& error) {
        problem = error.what();
    }
    option.clear();
    if (!problem.empty())
        throw InputError(
            fmt::format("{}: {}{}{}", where, key, problem.starts_with("must ") ? " " : ": ", problem));
    if (kind_of(option) != ValueKind::flag) option.default_str(text);
}

// Reports a syntax error. For common cases like `lr = 0,002` and `memory = store`, says what the option
// accepts.
[[noreturn]] void refuse_syntax(CLI::App& app, const std::string& name, const std::string& text,
                                const TomlError& error) {
    const std::string where = fmt::format("{}:{}", name, error.line);
    const std::string line(line_of_text(text, error.line));
    const auto trimmed = [](std::string part) {
        part.erase(0, std::min(part.find_first_not_of(" \t"), part.size()));
        part.erase(part.find_last_not_of(" \t") + 1);
        return part;
    };
    const std::size_t equals = line.find('=');
    if (equals != std::string::npos) {
        const std::string key = trimmed(line.substr(0, equals)),
                          value = trimmed(line.substr(equals + 1, line.find('#', equals) - equals - 1));
        CLI::Option* const option =
            key.find_first_of(" \t'\".") == std::string::npos && !key.empty() && key[0] != '#'
                ? app.get_option_no_throw("--" + key)
                : nullptr;
        bool alone = false;  // the line itself is valid TOML; the error is elsewhere
        try {
            parse_toml(line);
            alone = true;
        } catch (const TomlError&) {
        }
        if (option != nullptr && option->get_configurable() && !alone && !value.empty() &&
            value.find_first_of("'\"[{") == std::string::npos) {
            const bool quotes = kind_of(*option) == ValueKind::text;
            std::uint64_t large = 0;
            if (kind_of(*option) == ValueKind::unsigned_integer && value.find_first_of("+0") != 0 &&
                parse_decimal(value, large) == std::errc())
                throw InputError(fmt::format("{}: {}: TOML has no integers above {}: write '{}', in quotes",
                                             where, key, INT64_MAX, value));
            std::string digits = value;
            std::erase(digits, '_');
            std::int64_t integer = 0;
            double number = 0;
            if (parse_decimal(digits, integer) == std::errc::result_out_of_range ||
                parse_decimal(digits, number) == std::errc::result_out_of_range)
                throw InputError(fmt::format("{}: {}: '{}' is out of range", where, key, shown(digits)));
            throw InputError(fmt::format("{}: {} must be {}{}, got '{}'", where, key,
                                         description(kind_of(*option)), quotes ? " in quotes" : "",
                                         shown(value)));
        }
    }
    throw InputError(fmt::format("{}: not TOML: {} (in the line '{}')", where, error.what(), shown(line)));
}

}  // namespace

// Reads a pipe to its end (--config <(sed ... config.toml)). A pipe without a writer is an error, because
// reading it would block forever.
std::string read_config(const std::filesystem::path& path) {
    const auto refuse = [&path](const std::string& why) {
        throw InputError(fmt::format("{}: cannot read the options: {}", path.string(), why));
    };
    struct Descriptor {
        ~Descriptor() {
            if (number >= 0) close(number);
        }
        int number;
    } const file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat status {};
    if (file.number < 0 || fstat(file.number, &status) != 0) refuse(std::strerror(errno));
    if (S_ISDIR(status.st_mode)) refuse("it is a folder");
    std::string text;
    char buffer[65536];
    while (text.size() <= kMaxBytes) {
        const ssize_t count = read(file.number, buffer, sizeof buffer);
        if (count > 0) {
            text.append(buffer, static_cast<std::size_t>(count));
        } else if (count == 0) {
            if (text.empty() && S_ISFIFO(status.st_mode)) refuse("the pipe is empty");
            return text;
        } else if (errno == EAGAIN) {
            pollfd waiting{file.number, POLLIN, 0};
            if (poll(&waiting, 1, kPipeMilliseconds) == 0) refuse("no data arrives through the pipe");
        } else if (errno != EINTR) {
            refuse(std::strerror(errno));
        }
    }
    refuse(fmt::format("it is larger than {} bytes", kMaxBytes));
    return text;
}

ValueOrigins apply_config(CLI::App& app, const std::filesystem::path& path) {
    return apply_config(app, path.string(), read_config(path));
}

ValueOrigins apply_config(CLI::App& app, const std::string& name, std::string text) {
    require_text(name, text);
    text = without_old_forms(std::move(text));
    require_decimal_numbers(app);
    std::vector<TomlEntry> entries;
    try {
        entries = parse_toml(text);
    } catch (const TomlError& error) {
        refuse_syntax(app, name, text, error);
    }
    ValueOrigins origins;
    for (const TomlEntry& entry : entries) {
        const std::string where = fmt::format("{}:{}", name, entry.line);
        if (entry.kind == TomlKind::table && app.get_option_no_throw("--" + entry.key) == nullptr)
            throw InputError(
                fmt::format("{}: '{}' is a table: options belong at top level, without a section", where,
                            shown(entry.key)));
        CLI::Option* const option = find_option(app, where, entry.key);
        const ValueKind kind = kind_of(*option);
        const std::optional<std::string> value = option_text(kind, entry);
        if (!value)
            throw InputError(
                fmt::format("{}: {} must be {}, got {}", where, entry.key, description(kind), shown(entry)));
        if (value->find('\0') != std::string::npos)
            throw InputError(fmt::format("{}: {} contains a zero character", where, entry.key));
        set_option(*option, where, entry.key, *value);
        origins[entry.key] = where;
    }
    return origins;
}

std::string with_origin(const CLI::App& app, const ValueOrigins& origins, const std::string& message) {
    if (!message.starts_with("--")) return message;
    const std::string key = message.substr(2, message.find_first_of(" :", 2) - 2);
    const auto origin = origins.find(key);
    if (origin == origins.end() || app.get_option("--" + key)->count() > 0) return message;
    return origin->second + ": " + message;
}

}  // namespace glow
