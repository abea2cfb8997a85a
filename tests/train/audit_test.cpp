// The audit measures how memory policies affect gradients, without side effects.
#include "train/audit.h"

#include "tests/train/training.h"

namespace glow {
namespace {

TrainingOptions audited(MemoryMode memory, index_t depth = 3) {
    TrainingOptions options = small_options(16, 16, 3, 2, depth, 12);
    options.memory = memory;
    options.audit_every = 1;
    options.batch = 6;
    return options;
}

// Channel mixings that shrink every other output, so that the inverse magnifies rounding step by step.
void make_ill_conditioned(Training& training, double factor) {
    for (const Tensor& tensor : training.tensors())
        if (tensor.name.find("invconv") != std::string::npos)
            for (index_t o = 0; o < tensor.shape[0]; o += 2)
                for (index_t i = 0; i < tensor.shape[0]; ++i)
                    training.params()[tensor.offset + o * tensor.shape[0] + i] /= static_cast<float>(factor);
    training.trainer.reset_optimizer();
}

TEST(Audit, ReportsZeroForExactStates) {
    for (const MemoryMode memory : {MemoryMode::checkpoint, MemoryMode::store}) {
        Training training(audited(memory));
        training.random_start();
        const Audit audit = training.trainer.audit(training.images.batch());
        EXPECT_EQ(audit.images, Audit::kImages);
        EXPECT_EQ(audit.layers.size(), 2 * 3 + 2u);
        EXPECT_NEAR(audit.cosine, 1, 1e-15);
        EXPECT_EQ(audit.relative_l2, 0);
        EXPECT_EQ(audit.worst().state_error, 0);
        EXPECT_TRUE(audit.holds());
    }
}

TEST(Audit, ReconstructedStatesStayWithinDrift) {
    Training training(audited(MemoryMode::reconstruct));
    training.random_start();
    const Audit audit = training.trainer.audit(training.images.batch());
    EXPECT_GT(audit.worst().state_error, 0);
    EXPECT_LT(audit.worst().state_error, 1e-7);
    EXPECT_LT(audit.relative_l2, 1e-6);
    EXPECT_TRUE(audit.holds());
}

TEST(Audit, DetectsGradientErrorFromDrift) {
    TrainingOptions options = audited(MemoryMode::reconstruct, 8);
    Training training(options);
    training.random_start();
    make_ill_conditioned(training, 500);
    const Audit audit = training.trainer.audit(training.images.batch());
    EXPECT_FALSE(audit.holds()) << audit.cosine;
    EXPECT_GT(audit.relative_l2, 1e-2);
    // Exact at the top, growing downward; the state entering level 1 is saved.
    EXPECT_EQ(audit.layers[0].name, "prior/top");
    EXPECT_EQ(audit.layers[0].state_error, 0);
    EXPECT_EQ(audit.layers[8].name, "level1/step0");
    EXPECT_EQ(audit.layers[8].state_error, 0);
    EXPECT_EQ(audit.worst().name.substr(0, 6), "level0");
    EXPECT_GT(audit.worst().state_error, 1e-4);
    EXPECT_GT(audit.layers.back().state_error, 100 * audit.layers[10].state_error);
}

TEST(Audit, HasNoSideEffectsAndIsPlanned) {
    for (const bool fused : {false, true})
        for (const bool auditing : {false, true}) {
            TrainingOptions options = audited(MemoryMode::reconstruct);
            options.fused_update = fused;
            options.audit_every = auditing;
            static std::vector<float> expected;
            Training training(options);
            training.trainer.initialize(training.init_images.batch());
            OptimizerStep update;
            update.lr_t = 1e-3;
            for (int t = 0; t < 3; ++t) {
                training.trainer.step(training.images.batch(), update);
                if (auditing) training.trainer.audit(training.images.batch());
            }
            if (!fused && !auditing) expected = training.everything();
            EXPECT_TRUE(same_bits(training.everything(), expected)) << fused << auditing;
            for (const Category category : {Category::gradients, Category::state, Category::stored})
                EXPECT_EQ(at(training.memory.peak(), category), at(training.plan.bytes, category))
                    << kCategoryNames[static_cast<int>(category)] << fused << auditing;
        }
}

TEST(Audit, HandlesFewerImages) {
    TrainingOptions options = audited(MemoryMode::reconstruct);
    options.batch = 2;
    Training training(options);
    training.random_start();
    EXPECT_EQ(training.trainer.audit(training.images.batch()).images, 2);
}

}  // namespace
}  // namespace glow
