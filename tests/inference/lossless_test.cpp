// Lossless coding: every bijection inverts exactly and costs what its density predicts, and so do whole
// images.
#include "inference/lossless.h"

#include <cmath>
#include <cstring>
#include <tuple>

#include "inference/compressed_file.h"
#include "inference/likelihood.h"
#include "inference/loaded_model.h"
#include "inference/photo_archive.h"
#include "inference/statistics.h"
#include "kernels/error.h"
#include "tests/data/files.h"
#include "tests/data/make_files.h"
#include "tests/train/training.h"

namespace glow {
namespace {

double bits_of(const BitStack& stack) {
    return 32.0 * static_cast<double>(stack.words().size()) + std::log2(static_cast<double>(stack.head())) -
           32.0 * static_cast<double>(stack.supplied());
}

TEST(Lossless, ScalingInvertsAndCostsLogDeterminant) {
    for (const double s : {1e-5, 0.01, 0.3, 0.999, 1.0, 1.5, 40.0, 3000.0}) {
        const Ratio ratio = ratio_of(s);
        const double error = std::max(s, 1 / s) * 0x1p-25;  // relative error of R / S
        test::Random random(1);
        BitStack stack;
        std::vector<std::int64_t> before, after;
        const double start = bits_of(stack);
        constexpr int kCount = 2000;
        for (int i = 0; i < kCount; ++i) {
            before.push_back(static_cast<std::int64_t>(1e6 * random.normal()));
            after.push_back(scale_up(stack, ratio, before.back()));
            // A cell maps to a cell that its scaled image overlaps.
            const double exact = s * static_cast<double>(before.back());
            EXPECT_LE(std::fabs(static_cast<double>(after.back()) - exact), s + 1 + error * std::fabs(exact));
        }
        EXPECT_NEAR((bits_of(stack) - start) / kCount, -std::log2(s), 2 * error + 1e-6) << s;
        for (std::size_t i = before.size(); i-- > 0;)
            ASSERT_EQ(scale_back(stack, ratio, after[i]), before[i]) << s;
        EXPECT_TRUE(stack.is_in_initial_state()) << s;
    }
}

TEST(Lossless, RejectsStatesOutOfRange) {
    BitStack stack;
    const std::int64_t large = std::int64_t{1} << 38;
    EXPECT_THROW(scale_up(stack, ratio_of(0.5), large), InputError);
    EXPECT_THROW(scale_up(stack, ratio_of(2.0), large - 1), InputError);
    EXPECT_THROW(scale_back(stack, ratio_of(0.5), -large + 1), InputError);
}

TEST(Lossless, MixingMatchesMatrixAndInverts) {
    test::Random random(4);
    for (const index_t C : {1, 4, 12, 24}) {
        const std::vector<double> matrix = random.normals(C * C), shift = random.normals(C);
        const IntegerMixing mixing = IntegerMixing::of(C, matrix.data(), shift.data(), "level0/step0");
        BitStack stack;
        std::vector<std::int64_t> x;
        constexpr index_t kRows = 50;
        const double cells = std::exp2(kFractionBits);
        for (index_t i = 0; i < kRows * C; ++i)
            x.push_back(static_cast<std::int64_t>(cells * random.normal()));
        const std::vector<std::int64_t> before = x;
        const double start = bits_of(stack);
        for (index_t row = 0; row < kRows; ++row) mixing.forward(stack, &x[row * C]);
        for (index_t row = 0; row < kRows; ++row)
            for (index_t o = 0; o < C; ++o) {
                double y = shift[o] * cells, reach = 2;
                for (index_t i = 0; i < C; ++i) {
                    y += matrix[o * C + i] * static_cast<double>(before[row * C + i]);
                    reach += 4 * std::fabs(matrix[o * C + i]);
                }
                // Rounded in every factor, amplified by the condition of a random matrix.
                EXPECT_NEAR(static_cast<double>(x[row * C + o]), y, 100 * reach) << C;
            }
        // log2 |det| from the diagonals of the factors, whose product was checked above.
        double log_det = 0;
        for (const Ratio& ratio : mixing.diagonal)
            log_det += std::log2(static_cast<double>(ratio.R) / static_cast<double>(ratio.S));
        EXPECT_NEAR(bits_of(stack) - start, -kRows * log_det, 0.1);
        for (index_t row = kRows; row-- > 0;) mixing.inverse(stack, &x[row * C]);
        EXPECT_EQ(x, before);
        EXPECT_TRUE(stack.is_in_initial_state());
    }
    const std::vector<double> singular = {1, 2, 2, 4}, zero = {0, 0};
    EXPECT_THROW(IntegerMixing::of(2, singular.data(), zero.data(), "level0/step0"), InputError);
}

TEST(Lossless, NormalNumbersCostTheirEntropy) {
    const NormalCode code;
    test::Random random(3);
    BitStack stack;
    std::vector<std::int64_t> numbers;
    const double cells = std::exp2(kFractionBits), start = bits_of(stack);
    constexpr int kCount = 200000;
    double ideal = 0;
    for (int i = 0; i < kCount; ++i) {
        const double eps = random.normal();
        numbers.push_back(static_cast<std::int64_t>(std::floor(eps * cells)));
        ideal += kFractionBits + (0.5 * std::log(2 * M_PI) + 0.5 * eps * eps) / std::log(2.0);
        code.push(stack, numbers.back());
    }
    EXPECT_NEAR((bits_of(stack) - start) / kCount, ideal / kCount, 3e-4);  // 6e-5 of the buckets, and noise
    // Far values and bucket boundaries cost only logarithmically more.
    for (const double eps : {-8.0, 7.9999999, 8.0, -8.0001, 30.0, -1000.0, 1e5, -1e5}) {
        const double before = bits_of(stack);
        numbers.push_back(static_cast<std::int64_t>(std::floor(eps * cells)));
        code.push(stack, numbers.back());
        EXPECT_LT(bits_of(stack) - before, 24 + 32 + kFractionBits + 1);
    }
    for (std::size_t i = numbers.size(); i-- > 0;) ASSERT_EQ(code.pop(stack), numbers[i]) << i;
    EXPECT_TRUE(stack.is_in_initial_state());
}

// ---- Whole images --------------------------------------------------------------------------------

struct Case {
    std::string name;
    std::function<void(ModelConfig&)> change;
    double spread = 0.03;  // standard deviation of what is added to the weights
};

struct LosslessModel : testing::TestWithParam<Case> {};

// A checkpoint with random weights, and matching images.
struct Compressing {
    explicit Compressing(const std::function<void(ModelConfig&)>& change, std::uint64_t seed = 3,
                         double spread = 0.03)
        : options(small_options()) {
        change(options.model);
        options.init_batch = 16;
        Training training(options);
        Images init(options.init_batch, options.model, 1);
        std::vector<std::int32_t> labels(static_cast<std::size_t>(options.init_batch));
        Batch batch = init.batch();
        batch.labels = labels.data();
        training.trainer.initialize(batch);
        test::Random random(seed);
        for (const Tensor& tensor : training.tensors()) {
            const bool lower = tensor.name.ends_with("/lower"), upper = tensor.name.ends_with("/upper");
            for (index_t i = 0; i < tensor.count; ++i) {
                const index_t row = i / tensor.shape.back(), column = i % tensor.shape.back();
                if ((lower && column >= row) || (upper && column <= row)) continue;
                training.params()[tensor.offset + i] += static_cast<float>(spread * random.normal());
            }
        }
        save_checkpoint(folder / "c.h5", to_json(options), {}, nullptr, training.trainer.glow().parameters(),
                        training.backend.exec(),
                        {.params = training.params(), .fixed = training.trainer.weights().fixed});
        set = images(kImages);
    }
    ImageSet images(index_t N) const {
        const ModelConfig& model = options.model;
        ImageSet set{N, model.image_height, model.image_width, model.channels, Images(N, model, 9).pixels, {},
                     0};
        const int lost = 8 - model.n_bits;
        for (std::uint8_t& pixel : set.images) pixel = static_cast<std::uint8_t>(pixel >> lost << lost);
        set.n_classes = static_cast<std::int32_t>(model.n_classes);
        if (model.y_cond)
            for (index_t n = 0; n < N; ++n)
                set.labels.push_back(static_cast<std::int32_t>(n % model.n_classes));
        return set;
    }
    LoadedModel load(index_t batch = 8) const {
        return LoadedModel(folder / "c.h5", false, Precision::fp32, batch, backend);
    }

    static constexpr index_t kImages = 60;
    TemporaryFolder folder;
    TrainingOptions options;
    Backend backend{Device::cpu, 2};
    ImageSet set;
};

std::vector<std::uint8_t> decompressed(LoadedModel& model, const CompressedImages& images,
                                       std::vector<std::int32_t>* labels = nullptr) {
    std::vector<std::uint8_t> pixels;
    index_t expected = 0;
    const auto add = [&](index_t first, index_t count, const std::uint8_t* some) {
        EXPECT_EQ(first, expected);
        expected += count;
        pixels.insert(pixels.end(), some, some + count * images.H * images.W * images.C);
    };
    decompress(model, images, add, labels);
    return pixels;
}

TEST_P(LosslessModel, RoundTripsAtSizeOfLikelihood) {
    const Compressing at(GetParam().change, 3, GetParam().spread);
    LoadedModel model = at.load();
    const CompressedImages images = compress(model, at.set, 2, Precision::fp32);
    std::vector<std::int32_t> labels;
    EXPECT_TRUE(decompressed(model, images, &labels) == at.set.images);
    EXPECT_EQ(labels, at.set.labels);
    EXPECT_GT(*std::max_element(images.batches.begin(), images.batches.end()), 1u);

    LikelihoodRequest request;
    request.dequant_samples = 4;
    const Likelihoods likelihoods_of_set = likelihoods(model, at.set, request);
    const double reported = mean_of(likelihoods_of_set.bits_per_dim.data(), at.set.N).value;
    const double values = static_cast<double>(at.set.images.size());
    double bits = 8 * static_cast<double>(images.bytes() - images.start_up());
    if (at.options.model.y_cond)
        bits -= static_cast<double>(at.set.N) * std::log2(static_cast<double>(at.options.model.n_classes));
    // 17,280 values, each with a standard deviation of about 0.3 bits from its noise: 0.002 bits/dim; plus
    // the last word.
    // word.
    EXPECT_NEAR(bits / values, reported, 0.008 + 32 / values);
}

INSTANTIATE_TEST_SUITE_P(
    , LosslessModel,
    testing::Values(
        Case{"affine", [](ModelConfig&) {}},
        Case{"additive", [](ModelConfig& model) { model.coupling = CouplingKind::additive; }},
        // Scales above 1 of wilder weights send latents so far out that their code is shorter than
        // their density says.
        Case{"bounded_scale", [](ModelConfig& model) { model.coupling_scale = CouplingScale::tanh; }, 0.015},
        Case{"lu", [](ModelConfig& model) { model.permutation = Permutation::invconv_lu; }},
        Case{"shuffle", [](ModelConfig& model) { model.permutation = Permutation::shuffle; }},
        Case{"three_levels",
             [](ModelConfig& model) {
                 model.levels = 3;
                 model.image_width = 16;
                 model.edge_bias = false;
             }},
        Case{"five_bit", [](ModelConfig& model) { model.n_bits = 5; }},
        Case{"gray", [](ModelConfig& model) { model.channels = 1; }},
        Case{"one_level",
             [](ModelConfig& model) {
                 model.levels = 1;
                 model.learn_top = false;
             }},
        Case{"conditional",
             [](ModelConfig& model) {
                 model.y_cond = true;
                 model.n_classes = 3;
             }}),
    [](const auto& info) { return info.param.name; });

TEST(Lossless, IsDeterministic) {
    const Compressing at([](ModelConfig&) {});
    LoadedModel model = at.load(), again = at.load();
    const CompressedImages first = compress(model, at.set, 2, Precision::fp32),
                           second = compress(again, at.set, 2, Precision::fp32);
    EXPECT_EQ(first.words, second.words);
    EXPECT_EQ(first.batches, second.batches);
}

TEST(Lossless, RejectsImagesWithTooManyBits) {
    Compressing at([](ModelConfig& model) { model.n_bits = 5; });
    LoadedModel model = at.load();
    at.set.images[100] |= 1;
    EXPECT_THROW(compress(model, at.set, 2, Precision::fp32), InputError);
}

TEST(Lossless, RejectsOtherWeights) {
    const Compressing at([](ModelConfig&) {}), other([](ModelConfig&) {}, 4);
    LoadedModel model = at.load(), wrong = other.load();
    EXPECT_THROW(decompressed(wrong, compress(model, at.set, 2, Precision::fp32)), InputError);
}

// A build with different floating-point results finds a stack that does not fit, and must report it.
TEST(Lossless, MismatchedStackIsError) {
    const Compressing at([](ModelConfig&) {});
    LoadedModel model = at.load();
    const CompressedImages images = compress(model, at.set, 2, Precision::fp32);
    const auto expect_error = [&](const CompressedImages& changed) {
        try {
            decompressed(model, changed);
            ADD_FAILURE() << "the change was not detected";
        } catch (const InputError& error) {
            ADD_FAILURE() << error.what();
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find("the decompressed images differ from the originals"),
                      std::string::npos);
        }
    };
    CompressedImages changed = images;
    changed.words[0] ^= 1;  // the last word read: affects only the last image, or the initial bits
    expect_error(changed);
    changed = images;
    changed.words.back() ^= 1 << 20;
    expect_error(changed);
    changed = images;
    changed.pixels ^= 1;
    expect_error(changed);
    changed = images;
    changed.supplied += 1;
    expect_error(changed);
}

TEST(CompressedFile, RoundTripsAndRejectsDamage) {
    const Compressing at([](ModelConfig&) {});
    LoadedModel model = at.load();
    const CompressedImages images = compress(model, at.set, 2, Precision::fp32);
    const std::filesystem::path path = at.folder / "x.glow";
    write_compressed(path, images);
    EXPECT_EQ(std::filesystem::file_size(path), images.bytes());
    const CompressedImages back = read_compressed(path);
    EXPECT_EQ(back.words, images.words);
    EXPECT_EQ(back.batches, images.batches);
    EXPECT_EQ(back.threads, 2);
    EXPECT_TRUE(decompressed(model, back) == at.set.images);

    const std::string whole = read_bytes(path);
    const std::filesystem::path damaged = at.folder / "damaged.glow";
    test::Random random(1);
    for (int i = 0; i < 300; ++i) {
        std::string bytes = whole;
        // The header byte by byte, then random positions.
        const std::size_t exec =
            i < 120 ? static_cast<std::size_t>(i)
                    : static_cast<std::size_t>(random.integer(0, static_cast<int>(whole.size()) - 1));
        bytes[exec] = static_cast<char>(bytes[exec] ^ (1 << random.integer(0, 7)));
        write_bytes(damaged, bytes);
        EXPECT_THROW(read_compressed(damaged), InputError) << exec;
        write_bytes(damaged, whole.substr(0, exec));
        EXPECT_THROW(read_compressed(damaged), InputError) << exec;
    }
    write_bytes(damaged, whole + '\0');
    EXPECT_THROW(read_compressed(damaged), InputError);
    EXPECT_THROW(read_compressed(at.folder / "none.glow"), InputError);
    EXPECT_THROW(read_compressed(at.folder.path()), InputError);

    // A correct checksum over wrong contents.
    const auto refused = [&](const std::function<void(CompressedImages&)>& change) {
        CompressedImages wrong = images;
        change(wrong);
        write_compressed(damaged, wrong);
        EXPECT_THROW(read_compressed(damaged), InputError);
    };
    refused([](CompressedImages& wrong) { wrong.batches[0] = 0; });
    refused([](CompressedImages& wrong) { wrong.batches[0] = kMaxBatch + 1; });
    refused([](CompressedImages& wrong) { wrong.images += 1; });
    refused([](CompressedImages& wrong) { wrong.n_bits = 9; });
    refused([](CompressedImages& wrong) { wrong.threads = 0; });
    refused([](CompressedImages& wrong) {
        wrong.batches.clear();
        wrong.images = 0;
    });
}

// ---- Photographs ---------------------------------------------------------------------------------

// Smooth pictures of several sizes, and a gray one, in files below a folder.
struct PhotoArchive : testing::Test {
    PhotoArchive() {
        std::filesystem::create_directories(folder / "a/b");
        const std::vector<std::tuple<std::string, index_t, index_t, index_t>> files = {
            {"one.png", 8, 8, 3},
            {"a/large.png", 21, 30, 3},
            {"a/b/tiny.png", 1, 3, 3},
            {"gray.png", 9, 7, 1}};
        for (const auto& [name, H, W, C] : files) {
            originals.push_back(make::smooth(H, W, C));
            write_png(folder / name, originals.back());
            const ExactPhoto photo = read_codable_photo(folder / name, at.options.model);
            photos.push_back({folder / name, describe_photo(photo, name)});
        }
    }
    CompressedImages compressed(index_t batch) const {
        LoadedModel model = at.load(batch);
        return compress_photos(model, photos, 2, Precision::fp32);
    }
    void expect_originals(const CompressedImages& images) const {
        LoadedModel model = at.load();
        std::size_t count = 0;
        decompress_photos(model, images, [&](index_t number, const Image& image) {
            ASSERT_EQ(number, static_cast<index_t>(count));
            const Image& original = originals.at(count++);
            EXPECT_EQ(image.H, original.H);
            EXPECT_EQ(image.W, original.W);
            EXPECT_EQ(image.C, original.C);
            EXPECT_TRUE(image.pixels == original.pixels) << number;
        });
        EXPECT_EQ(count, originals.size());
    }

    Compressing at{[](ModelConfig&) {}};
    TemporaryFolder folder;
    std::vector<Image> originals;
    std::vector<PhotoFile> photos;
};

TEST_F(PhotoArchive, RestoresEveryPixel) {
    const index_t H = at.options.model.image_height, W = at.options.model.image_width;
    for (const index_t batch : {1, 3, 8}) {  // batches of tiles of several photographs
        CompressedImages images = compressed(batch);
        index_t tiles = 0;
        for (const Image& image : originals) tiles += (image.H + H - 1) / H * ((image.W + W - 1) / W);
        EXPECT_EQ(images.images, tiles);
        expect_originals(images);
        write_compressed(folder / "x.glow", images);
        EXPECT_EQ(std::filesystem::file_size(folder / "x.glow"), images.bytes());
        images = read_compressed(folder / "x.glow");
        EXPECT_EQ(images.photos.at(1).name, "a/large.png");
        expect_originals(images);
    }
}

TEST_F(PhotoArchive, CodesPhotographsWithTheirClasses) {
    const Compressing conditional([](ModelConfig& model) {
        model.y_cond = true;
        model.n_classes = 3;
    });
    LoadedModel model = conditional.load();
    const auto compressed_as = [&](const std::vector<std::int32_t>& labels) {
        for (std::size_t n = 0; n < photos.size(); ++n) photos[n].label = labels[n];
        return compress_photos(model, photos, 2, Precision::fp32);
    };
    const CompressedImages images = compressed_as({0, 1, 2, 1});
    EXPECT_NE(images.words, compressed_as({0, 2, 2, 1}).words);
    std::size_t count = 0;
    decompress_photos(model, images, [&](index_t, const Image& image) {
        EXPECT_TRUE(image.pixels == originals.at(count).pixels) << count;
        ++count;
    });
    EXPECT_EQ(count, originals.size());
}

TEST_F(PhotoArchive, RejectsOtherPixelsBeforeTheyAreUsed) {
    CompressedImages images = compressed(8);
    images.photos[1].pixels ^= 1;
    LoadedModel model = at.load();
    index_t used = 0;
    EXPECT_THROW(decompress_photos(model, images, [&](index_t, const Image&) { ++used; }), Error);
    EXPECT_EQ(used, 1);
    // A file that changes while it is compressed.
    write_png(photos[2].path, make::smooth(1, 3, 3, 9));
    EXPECT_THROW(compressed(8), InputError);
}

TEST_F(PhotoArchive, RejectsLossAndDamage) {
    // Photographs that the model cannot code without loss.
    write_png(folder / "alpha.png", make::smooth(4, 4, 4));
    EXPECT_THROW(read_codable_photo(folder / "alpha.png", at.options.model), InputError);
    write_bytes(folder / "deep.png", make::png(1, 1, 16, 0, std::string(3, '\0')));
    EXPECT_THROW(read_codable_photo(folder / "deep.png", at.options.model), InputError);
    ModelConfig other = at.options.model;
    other.channels = 1;
    EXPECT_THROW(read_codable_photo(folder / "one.png", other), InputError);
    EXPECT_TRUE(read_codable_photo(folder / "gray.png", other).gray);
    other = at.options.model;
    other.n_bits = 5;
    EXPECT_THROW(read_codable_photo(folder / "one.png", other), InputError);
    // An opaque alpha channel is no loss.
    Image opaque{1, 2, 4, {10, 20, 30, 255, 40, 50, 60, 255}};
    write_png(folder / "alpha.png", opaque);
    EXPECT_EQ(read_codable_photo(folder / "alpha.png", at.options.model).image.pixels,
              (std::vector<std::uint8_t>{10, 20, 30, 40, 50, 60}));

    // A correct checksum over wrong contents.
    const CompressedImages images = compressed(8);
    const auto refused = [&](const std::function<void(CompressedImages&)>& change) {
        CompressedImages wrong = images;
        change(wrong);
        write_compressed(folder / "x.glow", wrong);
        EXPECT_THROW(read_compressed(folder / "x.glow"), InputError);
    };
    for (const std::string name :
         {"", "/etc/x.png", "../x.png", "a/../../x.png", "a//x.png", "./x.png", "x.h5", "x", "a/", "one.png"})
        refused([&](CompressedImages& wrong) { wrong.photos[1].name = name; });
    refused([](CompressedImages& wrong) { wrong.photos[1].name = std::string("a\0.png", 6); });
    refused([](CompressedImages& wrong) { wrong.photos[1].H = 0; });
    refused([](CompressedImages& wrong) { wrong.photos[1].W += 100; });
    refused([](CompressedImages& wrong) { wrong.photos.pop_back(); });
    // Any change of bytes is found by the checksum; here the list of photographs with a new one.
    write_compressed(folder / "x.glow", images);
    const std::string whole = read_bytes(folder / "x.glow");
    const std::size_t list = whole.find("one.png") - 8;
    test::Random random(2);
    LoadedModel model = at.load();
    for (std::size_t position = list; position + 8 < whole.size(); ++position) {
        std::string bytes = whole;
        bytes[position] = static_cast<char>(bytes[position] ^ (1 << random.integer(0, 7)));
        const std::uint64_t sum = fingerprint(bytes.data(), bytes.size() - 8);
        std::memcpy(bytes.data() + bytes.size() - 8, &sum, 8);
        write_bytes(folder / "x.glow", bytes);
        try {
            decompress_photos(model, read_compressed(folder / "x.glow"), [](index_t, const Image&) {});
        } catch (const Error&) {  // a name may change unnoticed, nothing else
        }
    }
}

TEST(ArchiveNames, ArePngFilesAndUnique) {
    EXPECT_EQ(
        archive_names({"a.jpg", "a.jpeg", "a.png", "b/c.JPG", "b/d.PNG", "b/c.d.jpg"}),
        (std::vector<std::string>{"a.jpg.png", "a.jpeg.png", "a.png", "b/c.png", "b/d.PNG", "b/c.d.png"}));
    EXPECT_EQ(archive_names({"x.jpeg", "x.jpg"}), (std::vector<std::string>{"x.png", "x.jpg.png"}));
    EXPECT_EQ(archive_names({"x.jpg", "x.jpg.png", "x.png"}),
              (std::vector<std::string>{"x.jpg.png.png", "x.jpg.png", "x.png"}));
    // Names of folders are taken as well.
    EXPECT_EQ(archive_names({"1.jpg", "1.png/x.jpg", "a/b.jpg", "a/b.jpg.png/c/d.gif", "a/b.png/e/f.png"}),
              (std::vector<std::string>{"1.jpg.png", "1.png/x.png", "a/b.jpg.png.png", "a/b.jpg.png/c/d.png",
                                        "a/b.png/e/f.png"}));
}

}  // namespace
}  // namespace glow
