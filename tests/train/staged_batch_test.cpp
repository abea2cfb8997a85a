// The next images beside a device's work: what was started arrives, once, and nothing else is taken for it.
#include "train/staged_batch.h"

#include <gtest/gtest.h>

#include <memory>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "tests/train/training.h"

namespace glow {
namespace {

class Staged : public testing::TestWithParam<Device> {
  protected:
    static constexpr index_t kCapacity = 5;
    void SetUp() override {
        if (GetParam() == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
        backend_ = std::make_unique<Backend>(GetParam(), 1);
        model_ = small_options().model;
        model_.y_cond = true;
        model_.n_classes = 3;
        arena_ = std::make_unique<Arena>(GetParam(), Category::state, std::size_t{1} << 24);
        // Where kernels of a GPU would read.
        buffers_ = FlowBuffers::take(*arena_, kCapacity, model_, Device::cuda);
        staged_ = std::make_unique<StagedBatch>(exec(), GetParam(), *arena_, kCapacity, model_);
    }
    const Exec& exec() const { return backend_->exec(); }
    // Images with classes.
    struct Labeled : Images {
        Labeled(index_t N, const ModelConfig& model, std::uint64_t seed) : Images(N, model, seed) {
            for (index_t n = 0; n < N; ++n) {
                numbers[n] += 100 * seed;
                labels.push_back(static_cast<std::int32_t>((n + seed) % 3));
            }
        }
        Batch batch() const { return {N, pixels.data(), numbers.data(), labels.data()}; }
        std::vector<std::int32_t> labels;
    };
    void expect_there(const Labeled& images) {
        EXPECT_EQ(downloaded(exec(), std::ssize(images.pixels), buffers_.pixels), images.pixels);
        EXPECT_EQ(downloaded(exec(), images.N, buffers_.numbers), images.numbers);
        EXPECT_EQ(downloaded(exec(), images.N, buffers_.labels), images.labels);
    }

    std::unique_ptr<Backend> backend_;
    ModelConfig model_;
    std::unique_ptr<Arena> arena_;
    FlowBuffers buffers_;
    std::unique_ptr<StagedBatch> staged_;
};
INSTANTIATE_TEST_SUITE_P(Devices, Staged, testing::Values(Device::cpu, Device::cuda),
                         [](const auto& info) { return to_string(info.param); });

TEST_P(Staged, BatchesArriveInTurn) {
    for (std::uint64_t seed = 1; seed < 8; ++seed) {
        const Labeled images(1 + static_cast<index_t>(seed) % kCapacity, model_, seed);
        staged_->start(images.batch());
        EXPECT_TRUE(staged_->take(images.batch(), buffers_));
        expect_there(images);
        EXPECT_FALSE(staged_->take(images.batch(), buffers_)) << "taken twice";
    }
}

// The host's memory is free again when start() returns, and the device's buffers are not touched before
// take().
TEST_P(Staged, WhatIsUnderWayTouchesNeitherSide) {
    const Labeled first(3, model_, 1);
    staged_->start(first.batch());
    ASSERT_TRUE(staged_->take(first.batch(), buffers_));
    Labeled second(3, model_, 2);
    const Labeled kept = second;
    staged_->start(second.batch());
    std::fill(second.pixels.begin(), second.pixels.end(), std::uint8_t{7});
    synchronize(exec());
    expect_there(first);
    EXPECT_TRUE(staged_->take(second.batch(), buffers_));
    expect_there(kept);
}

TEST_P(Staged, AnotherBatchIsNotTakenForIt) {
    Labeled images(4, model_, 1);
    const Labeled others(4, model_, 2);
    staged_->start(images.batch());
    EXPECT_FALSE(staged_->take(others.batch(), buffers_));
    EXPECT_FALSE(staged_->take(images.batch().part(0, 3, model_.dimensions()), buffers_));
    EXPECT_FALSE(staged_->take(images.batch().part(1, 3, model_.dimensions()), buffers_));
    Batch relabeled = images.batch();
    relabeled.labels = others.labels.data();
    EXPECT_FALSE(staged_->take(relabeled, buffers_));
    images.numbers[0] += 1;  // the same memory, filled anew
    EXPECT_FALSE(staged_->take(images.batch(), buffers_));
    images.numbers[0] -= 1;
    EXPECT_TRUE(staged_->take(images.batch(), buffers_));
    staged_->start({});
    EXPECT_FALSE(staged_->take(Batch{}, buffers_));
    const Labeled many(kCapacity + 1, model_, 3);
    EXPECT_THROW(staged_->start(many.batch()), Error);
}

}  // namespace
}  // namespace glow
