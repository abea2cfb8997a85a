// Tables in CSV files (RFC 4180) as spreadsheets and scripts write them: quoted cells, any end of line, a
// byte order mark, and commas, semicolons or tabs between the cells.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace glow {

class CsvTable {
  public:
    struct Row {
        std::int64_t line;  // of the file, from 1
        std::vector<std::string> cells;
    };

    // Reads a whole file. The first line names the columns; a line "sep=;" before it, as Excel writes it,
    // sets the separator, which is else the first of comma, semicolon and tab that the first line has. Cells
    // lose blanks around them unless they are quoted. Rows without any text are left out. InputError, with
    // the line: no file, no first line, UTF-16, a quote that does not end or is followed by text, rows of
    // another number of cells.
    explicit CsvTable(const std::filesystem::path& path);

    const std::vector<std::string>& names() const { return names_; }
    const std::vector<Row>& rows() const { return rows_; }

    // The number of a column. InputError where there is none (the message lists those that are there) or two.
    std::size_t column(const std::string& name) const;
    // Cells as numbers. InputError with line and column: empty, no number, out of range.
    std::int64_t integer(const Row& row, std::size_t column, std::int64_t low, std::int64_t high) const;
    double number(const Row& row, std::size_t column) const;
    // InputError about a row: "F.csv:7: ...".
    [[noreturn]] void refuse(std::int64_t line, const std::string& what) const;

  private:
    std::string shown_;
    std::vector<std::string> names_;
    std::vector<Row> rows_;
};

}  // namespace glow
