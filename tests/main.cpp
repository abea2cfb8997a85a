// main() of the GoogleTest executables. Prints each reason for skipped tests once, at the end. Exits with 77,
// which CTest shows as skipped, if all tests were skipped.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>

namespace {

class SkipReasons : public testing::EmptyTestEventListener {
    void OnTestEnd(const testing::TestInfo& test) override {
        for (int i = 0; i < test.result()->total_part_count(); ++i) {
            const testing::TestPartResult& part = test.result()->GetTestPartResult(i);
            if (part.skipped()) ++tests_[part.message()];
        }
    }
    void OnTestProgramEnd(const testing::UnitTest&) override {
        for (const auto& [reason, count] : tests_) {
            std::string line = reason;
            while (!line.empty() && line.back() == '\n') line.pop_back();
            std::printf("skipped %d: %s\n", count, line.c_str());
        }
    }
    std::map<std::string, int> tests_;
};

}  // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    testing::UnitTest& all = *testing::UnitTest::GetInstance();
    all.listeners().Append(new SkipReasons);
    const int status = RUN_ALL_TESTS();
    const bool only_skips =
        all.skipped_test_count() > 0 && all.skipped_test_count() == all.test_to_run_count();
    return status == 0 && only_skips ? 77 : status;
}
