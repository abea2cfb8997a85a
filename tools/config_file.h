// Options from a TOML file (glow_train --config, a run's config.toml). A key is the name of an option of the
// command line, and its value passes the same checks and conversion as there.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <string>

namespace glow {

// Where an option's value comes from: "config.toml:3", by the option's name.
using ValueOrigins = std::map<std::string, std::string>;

// Gives the options of `app` the values of the file, as if they were their defaults: to be called before the
// command line is parsed, whose values replace them. InputError with file, line and key for what is not TOML,
// for an unknown key, and for a value that the option does not take.
ValueOrigins apply_config(CLI::App& app, const std::filesystem::path& path);
// The same for the text of a file of this name.
ValueOrigins apply_config(CLI::App& app, const std::string& name, std::string text);

// The message of an error about "--NAME ..." with the place in front where the file gave NAME its value,
// unless the command line gave it another.
std::string with_origin(const CLI::App& app, const ValueOrigins& origins, const std::string& message);

}  // namespace glow
