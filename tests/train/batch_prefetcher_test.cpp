// Batches arrive in order with correct contents, independent of concurrent uploads.
#include "train/batch_prefetcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "kernels/error.h"
#include "runtime/watchdog.h"
#include "tests/train/training.h"

namespace glow {
namespace {

// The device that uses the batches, and whether they are uploaded; on the CPU uploads are plain copies.
struct Target {
    const char* name;
    Device exec, device;
};
void PrintTo(const Target& target, std::ostream* out) {
    *out << target.name;
}

class Prefetcher : public testing::TestWithParam<Target> {
  protected:
    static constexpr index_t kBatch = 5, kShare = 3;  // images of all processes and of this one

    void SetUp() override {
        if (GetParam().exec == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
        backend_ = std::make_unique<Backend>(GetParam().exec, 1);
        model_ = small_options().model;
        arena_ = std::make_unique<Arena>(GetParam().exec, Category::state, std::size_t{1} << 20);
        batches_ =
            std::make_unique<BatchPrefetcher>(backend_->exec(), GetParam().device, *arena_, model_, kBatch,
                                              kShare, [this](index_t first) { return images(first); });
    }
    // Image s has pixels s, s + 1, ..., number s and class s mod 3. Like TrainingImages, this overwrites the
    // batch before last.
    Batch images(index_t first) {
        if (first >= unreadable_from_) throw InputError("unreadable");
        Space& space = spaces_[reads_++ % 2];
        const index_t D = model_.dimensions();
        space.pixels.clear();
        space.numbers.clear();
        space.labels.clear();
        for (index_t s = first; s < first + count_; ++s) {
            for (index_t i = 0; i < D; ++i) space.pixels.push_back(static_cast<std::uint8_t>(s + i));
            space.numbers.push_back(static_cast<std::uint64_t>(s));
            space.labels.push_back(static_cast<std::int32_t>(s % 3));
        }
        return {count_, space.pixels.data(), space.numbers.data(), labeled_ ? space.labels.data() : nullptr};
    }
    void expect_images(const Batch& batch, index_t first, index_t count = kShare) {
        ASSERT_EQ(batch.N, count);
        EXPECT_EQ(batch.on_device, GetParam().device == Device::cuda);
        const Exec& exec = backend_->exec();
        const index_t D = model_.dimensions();
        const auto pixels = downloaded(exec, count * D, batch.pixels);
        const auto numbers = downloaded(exec, count, batch.numbers);
        for (index_t n = 0; n < count; ++n) {
            EXPECT_EQ(numbers[n], static_cast<std::uint64_t>(first + n));
            for (index_t i = 0; i < D; ++i)
                ASSERT_EQ(pixels[n * D + i], static_cast<std::uint8_t>(first + n + i)) << n << " " << i;
        }
        ASSERT_EQ(batch.labels != nullptr, labeled_);
        if (!labeled_) return;
        const auto labels = downloaded(exec, count, batch.labels);
        for (index_t n = 0; n < count; ++n) EXPECT_EQ(labels[n], (first + n) % 3);
    }

    struct Space {
        std::vector<std::uint8_t> pixels;
        std::vector<std::uint64_t> numbers;
        std::vector<std::int32_t> labels;
    } spaces_[2];
    index_t reads_ = 0, count_ = kShare, unreadable_from_ = index_t{1} << 40;
    bool labeled_ = true;
    std::unique_ptr<Backend> backend_;
    ModelConfig model_;
    std::unique_ptr<Arena> arena_;
    std::unique_ptr<BatchPrefetcher> batches_;
};
INSTANTIATE_TEST_SUITE_P(Targets, Prefetcher,
                         testing::Values(Target{"cpu", Device::cpu, Device::cpu},
                                         Target{"copies", Device::cpu, Device::cuda},
                                         Target{"cuda", Device::cuda, Device::cuda}),
                         [](const auto& info) { return info.param.name; });

// A batch that cannot be read fails the step that needs it, not the one before.
TEST_P(Prefetcher, UnreadableBatchFailsWhenItIsNeeded) {
    unreadable_from_ = 2 * kBatch;
    expect_images(batches_->next(), 0);
    expect_images(batches_->next(), kBatch);
    EXPECT_THROW(batches_->next(), InputError);
    unreadable_from_ = index_t{1} << 40;
    batches_->seek(kBatch);
    for (index_t t = 1; t < 4; ++t) expect_images(batches_->next(), t * kBatch);
}

TEST_P(Prefetcher, BatchesArriveInOrder) {
    for (index_t t = 0; t < 8; ++t) expect_images(batches_->next(), t * kBatch);
}

TEST_P(Prefetcher, SeeksBackAndForth) {
    batches_->seek(40);
    expect_images(batches_->next(), 40);
    expect_images(batches_->next(), 40 + kBatch);
    batches_->seek(10);
    expect_images(batches_->next(), 10);
    batches_->seek(90);
    batches_->seek(10 + kBatch);
    expect_images(batches_->next(), 10 + kBatch);
    expect_images(batches_->next(), 10 + 2 * kBatch);
}

TEST_P(Prefetcher, SupportsMissingLabelsAndImages) {
    labeled_ = false;
    expect_images(batches_->next(), 0);
    count_ = 0;
    batches_->seek(0);
    EXPECT_EQ(batches_->next().N, 0);
    count_ = kShare;
    EXPECT_EQ(batches_->next().N, GetParam().device == Device::cuda ? 0 : kShare);
    batches_->seek(0);
    expect_images(batches_->next(), 0);
    count_ = kShare + 1;
    batches_->seek(0);
    EXPECT_THROW(batches_->next(), Error);
}

// Reads one batch ahead if it uploads, otherwise none.
TEST_P(Prefetcher, PrefetchesOnlyToUpload) {
    batches_->next();
    EXPECT_EQ(reads_, GetParam().device == Device::cuda ? 2 : 1);
    batches_->next();
    EXPECT_EQ(reads_, GetParam().device == Device::cuda ? 3 : 2);
}

// A file system may take longer than the watchdog's limit.
TEST(BatchPrefetcher, SlowReadIsNotFailure) {
    using namespace std::chrono_literals;
    std::atomic<bool> ended = false;
    Watchdog watchdog(0.5, [&](const std::string&) { ended = true; });
    const Backend backend(Device::cpu, 1);
    Arena arena(Device::cpu, Category::state, 64);
    BatchPrefetcher batches(backend.exec(), Device::cpu, arena, small_options().model, 1, 1, [](index_t) {
        std::this_thread::sleep_for(1500ms);
        return Batch{};
    });
    watchdog.watch(Heartbeat::of_this_thread(), "x");
    batches.next();
    EXPECT_FALSE(ended);
}

}  // namespace
}  // namespace glow
