// Options from a TOML file (glow_train --config, a run's config.toml). Keys are names of command-line
// options; values pass the same checks and conversions.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <string>

namespace glow {

// Origin of option values by option name: "config.toml:3".
using ValueOrigins = std::map<std::string, std::string>;

// Sets options of `app` from the file as if they were defaults. Call before parsing the command line, whose
// values override them. Throws InputError with file, line and key for invalid TOML, unknown keys and invalid
// values.
ValueOrigins apply_config(CLI::App& app, const std::filesystem::path& path);
// The text of such a file, which may be a pipe and is then read only once.
std::string read_config(const std::filesystem::path& path);
// Applies the text; `name` is the file name in messages.
ValueOrigins apply_config(CLI::App& app, const std::string& name, std::string text);

// Prepends the origin to an error message about "--NAME ..." if the value came from the file and was not
// overridden on the command line.
std::string with_origin(const CLI::App& app, const ValueOrigins& origins, const std::string& message);

}  // namespace glow
