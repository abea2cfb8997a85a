// The layout of --help, which does not depend on the version of CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace glow {

// An option is "--name TYPE [default]", then its description, completed by its range and by the options it
// needs or excludes, and broken into lines.
class HelpFormat : public CLI::Formatter {
  public:
    HelpFormat() { column_width(kColumn); }
    std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
    std::string make_option(const CLI::Option* option, bool is_positional) const override;
    std::string make_subcommand(const CLI::App* sub) const override;

  private:
    static constexpr std::size_t kColumn = 34, kWidth = 100;
};

}  // namespace glow
