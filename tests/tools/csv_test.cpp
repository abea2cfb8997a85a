// Tables as spreadsheets and scripts write them.
#include "tools/csv.h"

#include <fmt/format.h>

#include "tests/data/files.h"

namespace glow {
namespace {

struct Csv : testing::Test {
    CsvTable table(const std::string& text) {
        write_bytes(folder / "f.csv", text);
        return CsvTable(folder / "f.csv");
    }
    // Cells of "index" and "a", and line numbers: "0,1@2;".
    std::string values(const std::string& text) {
        const CsvTable found = table(text);
        std::string all;
        for (const auto& row : found.rows())
            all += fmt::format("{},{}@{};", found.integer(row, found.column("index"), 0, 99),
                               found.number(row, found.column("a")), row.line);
        return all;
    }
    void refused(const std::string& text, const std::vector<std::string>& parts) {
        expect_throw<InputError>([&] { values(text); }, parts);
    }
    TemporaryFolder folder;
};

TEST_F(Csv, ReadsCellsAsQuoted) {
    for (const std::string text : {"a.jpg", "a,b.jpg", "a \"b\".jpg", "a;b", " a ", "a\nb", "", "\""}) {
        const CsvTable found = table("index,name\n0," + quoted_cell(text) + "\n");
        ASSERT_EQ(found.rows().size(), 1u);
        EXPECT_EQ(found.rows()[0].cells[1], text);
    }
    EXPECT_EQ(quoted_cell("a.jpg"), "a.jpg");
}

TEST_F(Csv, ReadsEveryDialect) {
    const std::string expected = "0,1@2;1,-0.5@3;";
    for (const char* text : {
             "index,a\n0,1\n1,-0.5\n",
             "index,a\n0,1\n1,-0.5",
             "index,a\r\n0,1\r\n1,-0.5\r\n",
             "index,a\r0,1\r1,-0.5\r",
             "\xef\xbb\xbfindex,a\n0,1\n1,-0.5\n",
             "\xef\xbb\xbf\"index\",\"a\"\r\n\"0\",\"1\"\r\n\"1\",\"-0.5\"\r\n\r\n\r\n",
             "index,a\n0,1\n1,-0.5\n\n\n",
             "index,a\n0,1\n1,-0.5\n,\n,\n \n",
             "index;a\n0;1\n1;-0.5\n",
             "index\ta\n0\t1\n1\t-0.5\n",
             "a,b,index\n1,\"x, \"\"y\"\"\",0\n-0.5,,1\n",
             "index , a\n 0, +1.0 \n1,\t-5e-1\n",
             "b,index,b,a\nx,0,x,1\nx,1,,-0.5\n",
         })
        EXPECT_EQ(values(text), expected) << text;
    EXPECT_EQ(values("sep=;\r\nindex;a\r\n0;1\r\n"), "0,1@3;");
    EXPECT_EQ(values("index,text,a\n0,\"two\nlines\",1\n\n1,x,2\n"), "0,1@2;1,2@5;");
    EXPECT_TRUE(table("index,a\n").rows().empty());
}

TEST_F(Csv, ErrorsNameLineAndColumn) {
    refused("index,a\n0,1\n1,yes\n", {"f.csv:3: a must be a number", "\"yes\""});
    refused("index;a\n0;1\n1;0,5\n", {"f.csv:3: a must be a number with a decimal point", "\"0,5\""});
    refused("index,a\n0,\n", {"f.csv:2: a is empty"});
    refused("index,a\n,1\n", {"f.csv:2: index is empty"});
    for (const char* number : {"nan", "inf", "1e999", "0x1", "1 2", "--1", "+-1", "1.5x"})
        refused(fmt::format("index,a\n0,{}\n", number), {"f.csv:2: a must be a number", number});
    for (const char* number : {"-1", "1.5", "100", "x", "99999999999999999999"})
        refused(fmt::format("index,a\n\n{},1\n", number),
                {"f.csv:3: index must be a whole number from 0 to 99"});
    refused("index,a\n0,1\n0,1,2\n", {"f.csv:3: expected 2 cells as in the first line, found 3"});
    refused("index,a\n0\n", {"f.csv:2: expected 2 cells"});
    refused("index,a\n0,\"1\n", {"f.csv:2: a quoted cell starts here but does not end"});
    refused("index,a\n0,\"1\"2\n", {"f.csv:2: text follows the end of a quoted cell"});
}

TEST_F(Csv, ListsColumnsIfOneIsMissing) {
    refused("index,b,c\n0,1,2\n", {"f.csv: has no column \"a\"; columns are index, b, c"});
    refused("name,a\n0,1\n", {"f.csv: has no column \"index\"; columns are name, a"});
    refused("index,a,a\n0,1,2\n", {"f.csv: has two columns \"a\""});
}

TEST_F(Csv, RejectsNonTables) {
    for (const char* text : {"", "\n", "\xef\xbb\xbf", "\r\n\r\n"}) refused(text, {"f.csv", "first line"});
    refused(std::string("\xff\xfe"
                        "i\0n\0",
                        6),
            {"f.csv", "UTF-8"});
    refused(std::string("i\0n\0", 4), {"f.csv", "UTF-8"});
    expect_throw<InputError>([&] { CsvTable(folder / "none"); }, {"none", "No such file"});
    expect_throw<InputError>([&] { CsvTable("/proc/self/mem"); }, {"/proc/self/mem", "Input/output error"});
    expect_throw<InputError>([&] { CsvTable(folder.path()); }, {"a folder, not a file"});
}

}  // namespace
}  // namespace glow
