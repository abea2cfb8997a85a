#include "tools/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "data/formats/input_path.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::size_t kMaxNames = 50;  // column names listed in a message

bool is_blank(char character) {
    return character == ' ' || character == '\t';
}

// Splits text into rows. Errors are reported by `refuse(line, what)`.
template <class Refuse>
class Parser {
  public:
    Parser(std::string_view text, std::int64_t line, char separator, const Refuse& refuse)
        : text_(text), line_(line), separator_(separator), refuse_(refuse) {}

    bool done() const { return at_ == text_.size(); }
    CsvTable::Row row() {
        CsvTable::Row row{line_, {}};
        do row.cells.push_back(cell());
        while (accept(separator_));
        end_of_line();
        return row;
    }

  private:
    bool accept(char character) {
        if (done() || text_[at_] != character) return false;
        ++at_;
        return true;
    }
    bool at_end_of_line() const { return done() || text_[at_] == '\n' || text_[at_] == '\r'; }
    void end_of_line() {
        const bool carriage = accept('\r');
        if (accept('\n') || carriage) ++line_;
    }
    void skip_blanks() {
        while (!done() && is_blank(text_[at_]) && text_[at_] != separator_) ++at_;
    }
    std::string cell() {
        skip_blanks();
        if (accept('"')) return quoted();
        const std::size_t first = at_;
        while (!at_end_of_line() && text_[at_] != separator_) ++at_;
        std::size_t last = at_;
        while (last > first && is_blank(text_[last - 1])) --last;
        return std::string(text_.substr(first, last - first));
    }
    std::string quoted() {
        const std::int64_t opened = line_;
        std::string cell;
        while (!done()) {
            const char character = text_[at_++];
            if (character == '"' && !accept('"')) {
                skip_blanks();
                if (!at_end_of_line() && text_[at_] != separator_)
                    refuse_(line_, "text follows the end of a quoted cell");
                return cell;
            }
            if (character == '\n' || (character == '\r' && (done() || text_[at_] != '\n'))) ++line_;
            cell += character;
        }
        refuse_(opened, "a quoted cell starts here but does not end");
        return cell;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::int64_t line_;
    char separator_;
    const Refuse& refuse_;
};

// Determines the separator from the first line.
char find_separator(std::string_view text) {
    bool quoted = false;
    std::string_view found = ",;\t";
    std::size_t best = found.size();
    for (const char character : text) {
        if (character == '"') quoted = !quoted;
        if (quoted) continue;
        if (character == '\n' || character == '\r') break;
        best = std::min(best, found.find(character));
    }
    return best < found.size() ? found[best] : ',';
}

bool has_text(const CsvTable::Row& row) {
    return std::any_of(row.cells.begin(), row.cells.end(),
                       [](const std::string& cell) { return !cell.empty(); });
}

// Parses the complete text as a number with an optional plus sign.
template <class T>
bool parse(std::string_view text, T& value) {
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string quoted_cell(const std::string& text) {
    if (text.find_first_of("\",; \t\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char character : text) quoted += character == '"' ? "\"\"" : std::string(1, character);
    return quoted + "\"";
}

CsvTable::CsvTable(const std::filesystem::path& path) : shown_(path.string()) {
    const std::string bytes = read_file(path);
    std::string_view text = bytes;
    if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") || text.find('\0') != text.npos)
        throw InputError(fmt::format("{}: is not UTF-8 text (UTF-16?): save it as \"CSV UTF-8\"", shown_));
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    std::int64_t line = 1;
    char separator = '\0';
    if (text.starts_with("sep=") && text.size() > 5 && (text[5] == '\n' || text[5] == '\r')) {
        separator = text[4];
        text.remove_prefix(text.substr(5).starts_with("\r\n") ? 7 : 6);
        ++line;
    }
    if (separator == '\0') separator = find_separator(text);
    const auto refuse_line = [this](std::int64_t at, const std::string& what) { refuse(at, what); };
    Parser parser(text, line, separator, refuse_line);
    if (!parser.done()) names_ = parser.row().cells;
    if (names_.empty() || (names_.size() == 1 && names_[0].empty()))
        throw InputError(fmt::format("{}: expected column names in the first line, found none", shown_));
    while (!parser.done()) {
        Row row = parser.row();
        if (!has_text(row)) continue;
        if (row.cells.size() != names_.size())
            refuse(row.line, fmt::format("expected {} cells as in the first line, found {}", names_.size(),
                                         row.cells.size()));
        rows_.push_back(std::move(row));
    }
}

std::size_t CsvTable::column(const std::string& name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) {
        const auto last = names_.begin() + static_cast<std::ptrdiff_t>(std::min(names_.size(), kMaxNames));
        throw InputError(fmt::format("{}: has no column \"{}\"; columns are {}{}", shown_, name,
                                     fmt::join(names_.begin(), last, ", "),
                                     last == names_.end() ? "" : ", ..."));
    }
    if (std::find(found + 1, names_.end(), name) != names_.end())
        throw InputError(fmt::format("{}: has two columns \"{}\"", shown_, name));
    return static_cast<std::size_t>(found - names_.begin());
}

std::int64_t CsvTable::integer(const Row& row, std::size_t column, std::int64_t low,
                               std::int64_t high) const {
    const std::string& cell = row.cells[column];
    std::int64_t value = 0;
    if (!parse(cell, value) || value < low || value > high)
        refuse(row.line, cell.empty() ? fmt::format("{} is empty", names_[column])
                                      : fmt::format("{} must be a whole number from {} to {}, got \"{:.40}\"",
                                                    names_[column], low, high, cell));
    return value;
}

double CsvTable::number(const Row& row, std::size_t column) const {
    const std::string& cell = row.cells[column];
    double value = 0;
    if (!parse(cell, value) || !std::isfinite(value))
        refuse(row.line, cell.empty()
                             ? fmt::format("{} is empty", names_[column])
                             : fmt::format("{} must be a number with a decimal point, got \"{:.40}\"",
                                           names_[column], cell));
    return value;
}

void CsvTable::refuse(std::int64_t line, const std::string& what) const {
    throw InputError(fmt::format("{}:{}: {}", shown_, line, what));
}

}  // namespace glow
