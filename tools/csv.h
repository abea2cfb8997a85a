// CSV files (RFC 4180) as spreadsheets and scripts write them: quoted cells, any line ending, an optional
// byte order mark, and commas, semicolons or tabs as separators.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace glow {

// A cell as written: in quotes, if it contains a quote, separator, space or line break.
std::string quoted_cell(const std::string& text);

class CsvTable {
  public:
    struct Row {
        std::int64_t line;  // line number in the file, from 1
        std::vector<std::string> cells;
    };

    // Reads a file. The first line names the columns. A line "sep=;" before it, as written by Excel, sets the
    // separator; otherwise it is the first of comma, semicolon and tab found in the first line. Unquoted
    // cells are trimmed, and empty rows skipped. Throws InputError, with the line, if the file or its first
    // line is missing, for UTF-16, for quotes that do not end or are followed by text, and for rows with a
    // different number of cells.
    explicit CsvTable(const std::filesystem::path& path);

    const std::vector<std::string>& names() const { return names_; }
    const std::vector<Row>& rows() const { return rows_; }

    // The index of a column. Throws InputError if it does not exist (listing those that do) or exists twice.
    std::size_t column(const std::string& name) const;
    // Cells as numbers. Throws InputError with line and column for empty, invalid or out-of-range cells.
    std::int64_t integer(const Row& row, std::size_t column, std::int64_t low, std::int64_t high) const;
    double number(const Row& row, std::size_t column) const;
    // Throws InputError about a row: "F.csv:7: ...".
    [[noreturn]] void refuse(std::int64_t line, const std::string& what) const;

  private:
    std::string shown_;
    std::vector<std::string> names_;
    std::vector<Row> rows_;
};

}  // namespace glow
