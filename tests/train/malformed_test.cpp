// Malformed inputs by kind: each throws InputError (exit status 2 of the commands) with one line that names
// the file. tests/tools runs a sample of them through the commands.
#include <functional>
#include <limits>

#include "data/augment.h"
#include "data/cifar10.h"
#include "data/formats/photo.h"
#include "data/grid.h"
#include "data/mnist.h"
#include "data/npz.h"
#include "inference/model_file.h"
#include "tests/data/formats/gif_cases.h"
#include "tests/data/formats/tiff_cases.h"
#include "tests/data/formats/webp_cases.h"
#include "tests/data/make_files.h"
#include "tests/train/checkpoint_edit.h"
#include "tests/train/training.h"
#include "train/run.h"

namespace glow {
namespace {

using nlohmann::ordered_json;
using Path = std::filesystem::path;

// Counts errors and reports inputs that were accepted.
struct Malformed : testing::Test {
    void refuse(const std::string& kind, const std::string& name, const std::function<void()>& read) {
        ++tried;
        try {
            read();
        } catch (const InputError& error) {
            const std::string text = error.what();
            EXPECT_NE(text.find(name), std::string::npos) << kind << ": " << text;
            EXPECT_EQ(text.find('\n'), std::string::npos) << kind << ": " << text;
            EXPECT_GT(text.size(), name.size() + 5) << kind;
            EXPECT_LT(text.size(), 4000u) << kind;
            return;
        } catch (const std::exception& error) {
            ADD_FAILURE() << kind << ": refused as " << error.what();
            return;
        }
        ADD_FAILURE() << kind << ": accepted";
    }
    // Writes the file `name` with these bytes.
    void refuse_bytes(const std::string& kind, const std::string& name, const std::string& bytes,
                      const std::function<void(const Path&)>& read) {
        write_bytes(folder / name, bytes);
        refuse(kind, name, [&] { read(folder / name); });
    }
    // Truncates `bytes` at `count` positions, from the start to just before the last required byte.
    void refuse_cuts(const std::string& name, const std::string& bytes, std::size_t needed, std::size_t count,
                     const std::function<void(const Path&)>& read) {
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t length = i * (needed - 1) / (count - 1);
            refuse_bytes(fmt::format("cut at {} of {}", length, bytes.size()), name, bytes.substr(0, length),
                         read);
        }
    }
    // Replaces the bytes at `at` by each of these values.
    void refuse_values(const std::string& name, const std::string& bytes, std::size_t at,
                       const std::vector<std::string>& values, const std::function<void(const Path&)>& read) {
        for (const std::string& value : values) {
            std::string changed = bytes;
            changed.replace(at, value.size(), value);
            refuse_bytes(fmt::format("byte {} another", at), name, changed, read);
        }
    }
    void expect_at_least(int count) const { EXPECT_GE(tried, count); }

    TemporaryFolder folder;
    int tried = 0;
};

std::string byte(int value) {
    return std::string(1, static_cast<char>(value));
}

TEST_F(Malformed, Idx) {
    const auto read = [](const Path& path) {
        IdxReader reader(path);
        std::vector<std::uint8_t> values(1000);
        for (index_t row = 0; row < reader.rows(); ++row) reader.read(1, values.data());
    };
    const std::string plain = make::idx({6, 5, 4}, make::pixels(120)), packed = make::gzip(plain);
    write_bytes(folder / "good", plain);
    read(folder / "good");
    refuse_cuts("a", plain, plain.size(), 25, read);
    refuse_cuts("a.gz", packed, packed.size(), 25, read);
    refuse_values("a", plain, 0, {byte(1), byte(0x1f), byte(255)}, read);
    refuse_values("a", plain, 1, {byte(1), byte(0x8b)}, read);
    refuse_values("a", plain, 2, {byte(0), byte(9), byte(11), byte(12), byte(13), byte(14), byte(255)}, read);
    refuse_values("a", plain, 3, {byte(0), byte(1), byte(2), byte(4), byte(9), byte(255)}, read);
    for (const std::size_t axis : {4u, 8u, 12u})
        refuse_values("a", plain, axis,
                      {make::big_endian(0, 4), make::big_endian(3, 4), make::big_endian(7, 4),
                       make::big_endian(0x7fffffff, 4), make::big_endian(0xffffffff, 4)},
                      read);
    refuse_bytes("all sizes huge", "a", make::idx(std::vector<std::uint64_t>(8, 0xffffffff), "x"), read);
    refuse_bytes("a byte more", "a", plain + "x", read);
    refuse_bytes("a byte more", "a.gz", make::gzip(plain + "x"), read);
    refuse_bytes("sizes huge", "a.gz", make::gzip(make::idx({0xffffffff, 5, 4}, "x")), read);
    for (const std::size_t at : {12u, 20u, 40u}) {
        std::string damaged = packed;
        damaged[at] = static_cast<char>(~damaged[at]);
        refuse_bytes("damaged", "a.gz", damaged, read);
    }
    expect_at_least(85);
}

TEST_F(Malformed, Cifar10) {
    const auto read = [](const Path& path) {
        Cifar10Source source(find_cifar10(path.parent_path()));
        std::vector<std::uint8_t> images(3 * 3072), usable(3);
        std::vector<std::int32_t> labels(3);
        source.read(SourceSplit::train, 0, 3, images.data(), labels.data(), usable.data());
    };
    const std::string good = make::cifar10(3);
    for (const std::size_t length : {0u, 1u, 3072u, 3074u, 9218u})
        refuse_bytes("not whole records", "train.bin", good.substr(0, length), read);
    for (const int label : {10, 11, 100, 255}) refuse_values("train.bin", good, 3073, {byte(label)}, read);
    expect_at_least(9);
}

void read_npz(const Path& path) {
    NpzSource source({path});
    const index_t N = source.info().train;
    std::vector<std::uint8_t> images(static_cast<std::size_t>(N * source.info().image_bytes())),
        usable(static_cast<std::size_t>(N));
    std::vector<std::int32_t> labels(static_cast<std::size_t>(N));
    source.read(SourceSplit::train, 0, N, images.data(), labels.data(), usable.data());
}

// Valid arrays of four images and their labels.
std::string npy_data() {
    return make::npy("|u1", "(4, 12)", make::pixels(48));
}
std::string npy_labels() {
    return make::npy("<i8", "(4,)", std::string(32, '\0'));
}

TEST_F(Malformed, NumPyArchives) {
    const std::string data = npy_data(), labels = npy_labels();
    for (const bool deflate : {false, true}) {
        const std::string good = make::npz(data, labels, deflate);
        write_bytes(folder / "good.npz", good);
        read_npz(folder / "good.npz");
        refuse_cuts("a.npz", good, good.size(), 25, read_npz);
    }
    const auto archive = [&](const std::string& kind, const std::function<void(make::Archive&)>& change) {
        for (const bool deflate : {false, true}) {
            make::Archive parts;
            parts.entries = {{.name = "data.npy", .content = data, .deflate = deflate},
                             {.name = "labels.npy", .content = labels, .deflate = deflate}};
            change(parts);
            refuse_bytes(kind, "a.npz", make::zip(parts), read_npz);
        }
    };
    archive("no data", [](auto& a) { a.entries[0].name = "date.npy"; });
    archive("no entries", [](auto& a) { a.entries.clear(); });
    archive("more entries than there are", [](auto& a) { a.count = 3; });
    archive("many entries", [](auto& a) { a.count = 60000; });
    archive("directory beyond the end", [](auto& a) { a.directory = 0x7fffffff; });
    archive("directory elsewhere", [](auto& a) { a.directory = 1; });
    archive("directory longer", [](auto& a) { a.directory_bytes = 1 << 20; });
    archive("directory shorter", [](auto& a) { a.directory_bytes = 60; });
    for (const int method : {1, 2, 9, 12, 14, 99})
        archive("method", [&](auto& a) { a.entries[0].method = method; });
    archive("encrypted", [](auto& a) { a.entries[1].flags = 1; });
    archive("checksum", [](auto& a) { a.entries[0].crc = 12345; });
    archive("checksum of labels", [](auto& a) { a.entries[1].crc = 12345; });
    archive("bytes: more", [](auto& a) { a.entries[0].bytes = 1000; });
    archive("bytes: fewer", [](auto& a) { a.entries[0].bytes = 100; });
    archive("bytes: huge", [](auto& a) { a.entries[0].bytes = 0xfffffff0; });
    archive("compressed: huge", [](auto& a) { a.entries[0].compressed = 0xfffffff0; });
    archive("compressed: none", [](auto& a) { a.entries[0].compressed = 0; });
    archive("header beyond the end", [](auto& a) { a.entries[0].header = 1 << 30; });
    archive("header elsewhere", [](auto& a) { a.entries[0].header = 3; });
    archive("64 bits: place", [](auto& a) {
        a.entries[0].zip64 = true;
        a.entries[0].header = std::numeric_limits<std::int64_t>::max();
    });
    archive("64 bits: bytes", [](auto& a) {
        a.entries[0].zip64 = true;
        a.entries[0].bytes = std::numeric_limits<std::int64_t>::max();
    });
    archive("64 bits: directory", [](auto& a) {
        a.zip64 = true;
        a.directory = std::numeric_limits<std::int64_t>::max();
    });
    archive("64 bits: count", [](auto& a) {
        a.zip64 = true;
        a.count = std::numeric_limits<std::int64_t>::max();
    });
    expect_at_least(100);
}

TEST_F(Malformed, NumPyArrays) {
    const std::string data = npy_data(), labels = npy_labels();
    const auto arrays = [&](const std::string& kind, const std::string& d, const std::string& l) {
        refuse_bytes(kind, "a.npz", make::npz(d, l), read_npz);
    };
    arrays("no NumPy", "hello, I am no array", labels);
    arrays("empty", "", labels);
    for (const int version : {0, 4, 255})
        arrays("version",
               make::npy_of("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 12), }", make::pixels(48),
                            version),
               labels);
    for (const char* type :
         {"|i1", "<u2", "<i4", "<f4", "<f8", "|b1", "|O", "|S3", "<U1", "u1", "", "<c16", "|V8"})
        arrays(std::string("type ") + type, make::npy(type, "(4, 12)", make::pixels(48)), labels);
    for (const char* shape :
         {"(4, 13)", "(3, 12)", "(5, 12)", "(4,)", "()", "(0, 12)", "(4, 0)", "(-4, 12)", "(4.0, 12)",
          "(4 12)", "4", "(4, 12", "[4, 12]", "(99999999999999999999, 12)", "(1 << 3, 12)",
          "(1125899906842624, 1125899906842624)", "(4, 2, 2, 3, 1)", "(4, 1, 2, 6)", "(4, 6, 2, 1, 1)"})
        arrays(std::string("shape ") + shape, make::npy("|u1", shape, make::pixels(48)), labels);
    arrays("Fortran order", make::npy("|u1", "(4, 12)", make::pixels(48), true), labels);
    arrays("elements missing", make::npy("|u1", "(4, 12)", make::pixels(47)), labels);
    arrays("elements too many", make::npy("|u1", "(4, 12)", make::pixels(49)), labels);
    for (const char* header :
         {"", "{", "{}", "{'descr': '|u1'}", "{'descr': '|u1', 'fortran_order': False, }",
          "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (4, 12)}",
          "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (4, 12)}",
          "{'descr': '|u1', 'fortran_order': Maybe, 'shape': (4, 12)}",
          "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 12)} x",
          "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 12), 'more': 'x'}",
          "{'descr': '|u1' 'fortran_order': False, 'shape': (4, 12)}", "{'descr: '|u1'}", "__import__('os')"})
        arrays(std::string("header ") + header, make::npy_of(header, make::pixels(48)), labels);
    for (const auto& [type, bytes] : {std::pair{"<f8", 8}, {"<f4", 4}, {"|b1", 1}})
        arrays("labels of another type", data,
               make::npy(type, "(4,)", std::string(static_cast<std::size_t>(4 * bytes), '\0')));
    arrays("labels: three", data, make::npy("<i8", "(3,)", std::string(24, '\0')));
    arrays("labels: five", data, make::npy("<i8", "(5,)", std::string(40, '\0')));
    arrays("labels: negative", data, make::npy("<i8", "(4,)", std::string(32, '\xff')));
    arrays("labels: huge", data, make::npy("<u8", "(4,)", std::string(32, '\xff')));
    arrays("labels: a million", data,
           make::npy("<i4", "(4,)", std::string("\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 16)));
    expect_at_least(60);
}

TEST_F(Malformed, Photographs) {
    const auto read = [](const Path& path) { read_photo(path, 3); };
    const std::string png = make::png(make::smooth(12, 9, 3)), jpeg = make::jpeg(make::smooth(24, 17, 3));
    refuse_cuts("a.png", png, png.size() - 12, 20, read);
    refuse_cuts("a.jpg", jpeg, jpeg.size() - 2, 20, read);
    refuse_values("a.png", png, 4, {"\n", "x"}, read);  // signature
    refuse_values("a.png", png, 29, {"xxxx"}, read);    // checksum
    refuse_bytes("no pixels", "a.png", png.substr(0, 33) + make::png_chunk("IEND", ""), read);
    for (const auto& [width, height] : {std::pair{0u, 4u},
                                        {4u, 0u},
                                        {0x7fffffffu, 0x7fffffffu},
                                        {1u << 20, 1u << 20},
                                        {0x80000000u, 1u},
                                        {4u, 5u}})
        refuse_bytes("size", "a.png", make::png(width, height, 8, 0, std::string(20, '\0')), read);
    for (const auto& [bits, color] :
         {std::pair{3, 0}, {0, 0}, {32, 0}, {8, 1}, {8, 5}, {8, 7}, {4, 2}, {16, 3}})
        refuse_bytes("bits or color", "a.png", make::png(4, 4, bits, color, std::string(200, '\0')), read);
    refuse_bytes("palette without colors", "a.png", make::png(4, 4, 8, 3, std::string(20, '\0')), read);
    refuse_bytes("filter", "a.png",
                 make::png(4, 1, 8, 0,
                           "\x09"
                           "abcd"),
                 read);
    refuse_bytes("no zlib", "a.png",
                 png.substr(0, 33) + make::png_chunk("IDAT", "hello") + make::png_chunk("IEND", ""), read);
    refuse_bytes("text", "a.png", "hello", read);
    refuse_bytes("nothing but a start", "a.jpg", "\xff\xd8\xff", read);
    refuse_bytes("no frame", "a.jpg", "\xff\xd8\xff\xd9", read);
    const std::size_t frame = jpeg.find("\xff\xc0");
    ASSERT_NE(frame, std::string::npos);
    refuse_values("a.jpg", jpeg, frame + 5, {std::string("\0\0", 2), std::string("\xff\xff\xff\xff")}, read);
    refuse_values("a.jpg", jpeg, frame + 4, {byte(9), byte(0)}, read);      // bits of a sample
    refuse_values("a.jpg", jpeg, frame + 9, {byte(0), byte(200)}, read);    // components
    refuse_values("a.jpg", jpeg, frame + 11, {byte(0), byte(0x55)}, read);  // sampling
    const std::string tiff = make::tiff({}), gif = make::gif_file("plain"),
                      webp = make::webp_file("lossless");
    refuse_cuts("a.tif", tiff, tiff.size(), 20, read);
    refuse_cuts("a.gif", gif, gif.size() - 3, 20, read);
    refuse_cuts("a.webp", webp, webp.size() - 1, 10, read);
    const std::size_t width = 18, bits = 42;  // values of the first and the third entry of the directory
    refuse_values("a.tif", tiff, width, {std::string(4, '\0'), std::string(4, '\x7f')}, read);
    refuse_values("a.tif", tiff, bits, {std::string(4, '\x7f')}, read);
    refuse_values("a.gif", gif, 6, {std::string("\0\0", 2), std::string("\1\0", 2)}, read);  // canvas
    for (const char* name : {"a.gif", "a.bmp", "a.webp"})
        refuse_bytes("another format", name, std::string(name) + std::string(100, 'x'), read);
    expect_at_least(125);
}

// The data-set reader is tested in dataset_test.cpp and hdf5_file_test.cpp; only truncation is repeated here.
TEST_F(Malformed, DataSets) {
    const auto read = [](const Path& path) { load_split(path, "train"); };
    DatasetInfo info;
    info.H = info.W = 4;
    info.C = 3;
    info.n_classes = 3;
    const std::vector<std::uint8_t> pixels(20 * 48, 7);
    const std::vector<std::int32_t> labels(20, 2);
    DatasetWriter writer(folder / "good.h5", info);
    writer.append("train", 20, pixels.data(), labels.data());
    writer.commit();
    const std::string good = read_bytes(folder / "good.h5");
    refuse_cuts("a.h5", good, good.size(), 25, read);
    refuse_values("a.h5", good, 0, {"x", "PK\x03\x04"}, read);
    refuse_bytes("zeros", "a.h5", std::string(5000, '\0'), read);
    refuse_bytes("a JPEG", "a.h5", make::jpeg(make::smooth(16, 16, 3)), read);
    expect_at_least(29);
}

TEST_F(Malformed, Checkpoints) {
    Training training(small_options(4, 4, 1, 2, 1, 3));
    training.random_start();
    const Parameters& parameters = training.trainer.glow().parameters();
    save_checkpoint(folder / "good.h5", to_json(training.options), {2, 8, 0.25}, nullptr, parameters,
                    training.backend.exec(), training.trainer.weights());
    const auto read = [&](const Path& path) {
        read_checkpoint_info(path);
        load_checkpoint(path, parameters, training.backend.exec(), training.trainer.weights());
    };
    read(folder / "good.h5");
    const std::string bytes = read_bytes(folder / "good.h5");
    refuse_cuts("a.h5", bytes, bytes.size(), 15, read);
    const CheckpointEdit good(folder / "good.h5");
    const auto damage = [&](const std::string& kind, const std::function<void(CheckpointEdit&)>& change) {
        CheckpointEdit edit = good;
        change(edit);
        edit.write(folder / "a.h5");
        refuse(kind, "a.h5", [&] { read(folder / "a.h5"); });
    };
    damage("format", [](auto& e) { e.format = "glow-dataset"; });
    damage("no format", [](auto& e) { e.format = ""; });
    for (const int version : {0, 3, -1}) damage("version", [&](auto& e) { e.version = version; });
    damage("step", [](auto& e) { e.step = -1; });
    damage("images", [](auto& e) { e.images_seen = -1; });
    damage("images: huge", [](auto& e) { e.images_seen = std::numeric_limits<std::int64_t>::max(); });
    for (const double epoch :
         {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
        damage("epoch", [&](auto& e) { e.epoch = epoch; });
    // The configuration: each key missing, of another type, out of range.
    const ordered_json config = ordered_json::parse(good.config);
    const auto configure = [&](const std::string& kind, const ordered_json& changed) {
        damage("config: " + kind, [&](auto& e) { e.config = changed.dump(); });
    };
    int turn = 0;
    for (const auto& [key, value] : config.items()) {
        if (key == "training") continue;
        ordered_json changed = config;
        changed.erase(key);
        // those that older files lack are optional
        if (key != "coupling_scale" && !key.starts_with("dequant_")) configure("no " + key, changed);
        // A value of another type, alternating between types, or an unknown word where words are valid.
        const ordered_json types[] = {nullptr, "word", ordered_json::array({1})};
        for (const ordered_json& other :
             {types[value.is_string() ? 1 : turn++ % 3], ordered_json(-1), ordered_json(1e300)}) {
            changed = config;
            changed[key] = other;
            configure(key + " " + other.dump(), changed);
        }
    }
    for (const char* text :
         {"", "{", "[]", "null", "3", "\"text\"", "{} {}", "{\"levels\": 1e999}", "\xff\xfe"})
        damage(std::string("config ") + text, [&](auto& e) { e.config = text; });
    damage("config: deep", [](auto& e) { e.config = std::string(100000, '['); });
    // Tensors: each kind missing, of another shape or type, with invalid values.
    for (const auto& [name, tensor] : good.tensors) {
        if (name.find("level0") == std::string::npos || name.find("/ema") == 0) continue;
        damage(name + " missing", [&, name = name](auto& e) { e.tensors.erase(name); });
        damage(name + " not finite",
               [&, name = name](auto& e) { e.tensor(name).values.back() = std::nanf(""); });
    }
    const std::string W = "/params/level0/step0/invconv/weight";
    damage("W singular",
           [&](auto& e) { std::fill(e.tensor(W).values.begin(), e.tensor(W).values.end(), 1.0f); });
    damage("W of another shape", [&](auto& e) { e.tensor(W).shape = {2, 8}; });
    damage("W of another type", [&](auto& e) { e.tensor(W).type = ElementType::float64; });
    damage("one more", [&](auto& e) { e.tensors["/params/level9/bias"] = e.tensor(W); });
    expect_at_least(140);
}

TEST_F(Malformed, Options) {
    const auto options = [&](const std::string& name, const std::function<void(TrainingOptions&)>& change) {
        refuse(name, name, [&] {
            TrainingOptions all;
            change(all);
            check(all);
        });
    };
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    for (const double bad : {nan, inf, -inf, -1.0, 1e31}) {
        options("lr", [&](auto& o) { o.lr = bad; });
        options("clip-norm", [&](auto& o) { o.clip_norm = bad; });
        options("beta1", [&](auto& o) { o.beta1 = bad; });
        options("beta2", [&](auto& o) { o.beta2 = bad; });
        options("ema-decay", [&](auto& o) { o.ema_decay = bad; });
        options("weight-decay", [&](auto& o) { o.weight_decay = bad; });
        options("epochs", [&](auto& o) { o.epochs = bad; });
        options("warmup-epochs", [&](auto& o) { o.warmup_epochs = bad; });
        options("max-minutes", [&](auto& o) { o.max_minutes = bad; });
        options("epoch-images", [&](auto& o) { o.epoch_images = bad; });
        options("drift-tolerance", [&](auto& o) { o.drift_tolerance = bad; });
    }
    for (const char* text : {"", "x", "-1", "nan", "inf", "1e300", "10s", "1.5", "m", "10 m", "0x"})
        refuse(text, "interval", [&] { parse_interval(text); });
    for (const char* text : {"", "8", "8x", "x8", "0x8", "8x0", "-1x8", "1001x1", "8x8x8", "8 x 8", "ax8"})
        refuse(text, "8x8", [&] { parse_grid(text); });
    for (const char* text : {"", "Flip", "flip+shift", "shift+", "rotate", "flip ", "all"})
        refuse(text, "augmentation", [&] { parse_name<Augmentation>(text); });
    expect_at_least(80);
}

}  // namespace
}  // namespace glow
