// The memory of the published CIFAR-10 model: takes minutes on a few cores.
#include "tests/tools/run_fixture.h"

namespace glow {
namespace {

TEST_F(Commands, Cifar10ModelTrainsWithinPlan) {
    make_dataset(folder / "cifar.h5", 32, 32, 3, 256, 0, 0);
    const Outcome outcome =
        train({"--data", "cifar.h5", "--out", "run", "--levels", "3", "--depth", "32", "--width", "512",
               "--batch", "64", "--max-steps", "2", "--quiet", "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto result = nlohmann::json::parse(outcome.out);
    const double planned = result["planned_bytes"], peak = result["peak_bytes"],
                 growth = result["process_growth_bytes"];
    EXPECT_NEAR(peak, planned, 0.02 * planned);
    EXPECT_LT(peak, 1.1 * (1 << 30));
    EXPECT_LE(growth, allowed_growth(planned));
    RecordProperty("planned_bytes", std::to_string(planned));
    RecordProperty("peak_bytes", std::to_string(peak));
    RecordProperty("process_growth_bytes", std::to_string(growth));
}

}  // namespace
}  // namespace glow
