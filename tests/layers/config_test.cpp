#include "layers/config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"
#include "layers/glow.h"

namespace glow {
namespace {

TEST(Config, LevelShapesMatchPaper) {
    const ModelConfig config;  // 32x32x3, three levels
    const index_t expected[3][3] = {{16, 16, 12}, {8, 8, 24}, {4, 4, 48}};
    for (index_t l = 0; l < 3; ++l) {
        const Shape shape = level_shape(config, l);
        EXPECT_EQ(shape.H, expected[l][0]);
        EXPECT_EQ(shape.W, expected[l][1]);
        EXPECT_EQ(shape.C, expected[l][2]);
    }
    EXPECT_EQ(config.dimensions(), 3072);
}

template <class F>
void expect_refused(F change, const std::string& word) {
    ModelConfig config;
    change(config);
    try {
        check(config);
        FAIL() << "nothing was thrown; " << word;
    } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
    EXPECT_THROW(Glow(config, {}), InputError);
}

TEST(Config, RejectsInconsistentValues) {
    EXPECT_NO_THROW(check(ModelConfig{}));
    expect_refused([](ModelConfig& c) { c.image_height = 36; }, "--levels");
    expect_refused([](ModelConfig& c) { c.image_width = 4; }, "--levels");
    expect_refused([](ModelConfig& c) { c.image_width = 0; }, "width");
    expect_refused([](ModelConfig& c) { c.channels = 5; }, "channels");
    expect_refused([](ModelConfig& c) { c.channels = 0; }, "channels");
    expect_refused([](ModelConfig& c) { c.n_bits = 9; }, "--n-bits");
    expect_refused([](ModelConfig& c) { c.levels = 0; }, "--levels");
    expect_refused([](ModelConfig& c) { c.levels = 100; }, "--levels");
    expect_refused([](ModelConfig& c) { c.depth = 0; }, "--depth");
    expect_refused([](ModelConfig& c) { c.width = -1; }, "--width");
    expect_refused(
        [](ModelConfig& c) {
            c.coupling = CouplingKind::additive;
            c.coupling_scale = CouplingScale::tanh;
        },
        "--coupling-scale tanh: an additive coupling has no scale");
    expect_refused([](ModelConfig& c) { c.y_cond = true; }, "classes");
    expect_refused([](ModelConfig& c) { c.weight_y = 0.1; }, "--y-cond");
    expect_refused([](ModelConfig& c) { c.weight_y = -0.1; }, "--weight-y");
    expect_refused([](ModelConfig& c) { c.weight_y = std::nan(""); }, "--weight-y");
}

TEST(Config, ParsesNamesAndListsKnownOnes) {
    for (const Permutation p :
         {Permutation::invconv, Permutation::invconv_lu, Permutation::shuffle, Permutation::reverse})
        EXPECT_EQ(parse_name<Permutation>(to_string(p)), p);
    for (const CouplingKind c : {CouplingKind::affine, CouplingKind::additive})
        EXPECT_EQ(parse_name<CouplingKind>(to_string(c)), c);
    for (const CouplingScale s : {CouplingScale::sigmoid, CouplingScale::tanh})
        EXPECT_EQ(parse_name<CouplingScale>(to_string(s)), s);
    for (const Precision p : {Precision::fp32, Precision::tf32, Precision::bf16})
        EXPECT_EQ(parse_name<Precision>(to_string(p)), p);
    try {
        parse_name<CouplingKind>("afine");
        FAIL();
    } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("affine or additive"), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace glow
