// Options to and from text: intervals, ranges, JSON, config.toml.
#include "train/options.h"

#include <fmt/format.h>

#include <limits>

#include "inference/model_config.h"
#include "tests/train/training.h"

namespace glow {
namespace {

TEST(Intervals, ParseStepsOrMinutes) {
    EXPECT_EQ(parse_interval("100"), (Interval{100, false}));
    EXPECT_EQ(parse_interval("2.5m"), (Interval{2.5, true}));
    EXPECT_EQ(parse_interval("0"), (Interval{0, false}));
    EXPECT_EQ(parse_interval("010m"), (Interval{10, true}));
    EXPECT_EQ(parse_interval("1e3"), (Interval{1000, false}));
    for (const char* text :
         {"",       "m",   "-1",   "-1m",  "1.5",  "nan",   "nanm", "inf", "infm", "1e300",
          "1e300m", "10s", "10 m", "10mm", "0x10", "0x10m", " 10",  "-0",  "1_0",  "1e400"})
        expect_throw<InputError>([&] { parse_interval(text); }, {text, "not an interval"});
    for (const Interval& interval : {Interval{100, false}, Interval{0.1, true}, Interval{1e15, false}})
        EXPECT_EQ(parse_interval(to_string(interval)), interval);
}

TEST(Options, RejectsValuesOutOfRangeByName) {
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    const auto refused = [](const std::string& name, const auto& change) {
        TrainingOptions o;
        change(o);
        expect_throw<InputError>([&] { check(o); }, {name});
    };
    EXPECT_NO_THROW(check(TrainingOptions()));
    for (const double bad : {nan, inf, -1.0}) {
        refused("--lr", [&](auto& o) { o.lr = bad; });
        refused("--beta1", [&](auto& o) { o.beta1 = bad; });
        refused("--beta2", [&](auto& o) { o.beta2 = bad; });
        refused("--warmup-epochs", [&](auto& o) { o.warmup_epochs = bad; });
        refused("--epoch-images", [&](auto& o) { o.epoch_images = bad; });
        refused("--schedule-images", [&](auto& o) { o.schedule_images = bad; });
        refused("--weight-decay", [&](auto& o) { o.weight_decay = bad; });
        refused("--clip-norm", [&](auto& o) { o.clip_norm = bad; });
        refused("--ema-decay", [&](auto& o) { o.ema_decay = bad; });
        refused("--epochs", [&](auto& o) { o.epochs = bad; });
        refused("--max-minutes", [&](auto& o) { o.max_minutes = bad; });
        refused("--drift-tolerance", [&](auto& o) { o.drift_tolerance = bad; });
    }
    for (const index_t bad : {index_t{-1}, std::numeric_limits<index_t>::min()}) {
        refused("--batch", [&](auto& o) { o.batch = bad; });
        refused("--micro-batch", [&](auto& o) { o.micro_batch = bad; });
        refused("--init-batch", [&](auto& o) { o.init_batch = bad; });
        refused("--max-steps", [&](auto& o) { o.max_steps = bad; });
        refused("--anchor-every", [&](auto& o) { o.anchor_every = bad; });
        refused("--tile", [&](auto& o) { o.tile = bad; });
        refused("--audit-every", [&](auto& o) { o.audit_every = bad; });
        refused("--log-every", [&](auto& o) { o.log_every = bad; });
    }
    refused("--batch", [](auto& o) { o.batch = 0; });
    refused("--batch", [](auto& o) { o.batch = std::numeric_limits<index_t>::max(); });
    refused("--micro-batch", [](auto& o) { o.micro_batch = o.batch + 1; });
    refused("--max-steps", [](auto& o) { o.max_steps = std::numeric_limits<index_t>::max(); });
    refused("--threads", [](auto& o) { o.threads = -1; });
    refused("--keep", [](auto& o) { o.keep = 1; });
    refused("--clip-norm", [](auto& o) {
        o.fused_update = true;
        o.clip_norm = 1;
    });
    refused("--micro-batch", [](auto& o) {
        o.fused_update = true;
        o.micro_batch = o.batch / 2;
    });
}

// The names are those of files of all versions.
TEST(Options, EnumsAreTheirNames) {
    const auto names = []<class T>(const T&) { return known_names<T>(); };
    const TrainingOptions o;
    EXPECT_EQ(names(o.optimizer), "adamax or adam");
    EXPECT_EQ(names(o.moments), "fp32 or bf16");
    EXPECT_EQ(names(o.augment), "none, flip, shift or shift+flip");
    EXPECT_EQ(names(o.dequant), "uniform, center or variational");
    EXPECT_EQ(names(o.data_access), "auto, memory or disk");
    EXPECT_EQ(names(o.precision), "fp32, tf32 or bf16");
    EXPECT_EQ(names(o.memory), "reconstruct, checkpoint, store or auto");
    for (const char* name : {"reconstruct", "checkpoint", "store", "auto"})
        EXPECT_EQ(to_string(parse_name<MemoryMode>(name)), name);
    expect_throw<InputError>([] { parse_name<MemoryMode>("Store"); },
                             {"memory policy must be reconstruct, checkpoint, store or auto, got 'Store'"});
    EXPECT_EQ(to_json(o)["training"]["memory"], "reconstruct");
    EXPECT_EQ(to_json(o)["training"]["augment"], "flip");
}

TEST(Options, JsonHoldsTheModelAndEveryOption) {
    TrainingOptions o = small_options();
    o.model.coupling = CouplingKind::additive;
    const nlohmann::ordered_json json = to_json(o);
    EXPECT_EQ(model_from_json(json), o.model);
    for (const char* key : {"image_height", "image_width", "channels", "n_bits", "levels", "depth", "width",
                            "permutation", "coupling", "coupling_scale", "edge_bias", "learn_top", "y_cond",
                            "n_classes", "weight_y", "dequant_depth", "dequant_width"})
        EXPECT_TRUE(json.contains(key)) << key;
    std::size_t count = 0;
    visit_training_options(o, [&](const char* name, const auto&, OnResume, const char*) {
        ++count;
        EXPECT_TRUE(json["training"].contains(name)) << name;
    });
    EXPECT_EQ(json["training"].size(), count);
}

TEST(Options, RejectsBadConfigByKey) {
    const nlohmann::ordered_json good = to_json(small_options().model);
    for (const auto& [key, value] : good.items()) {
        nlohmann::ordered_json bad = good;
        bad.erase(key);
        if (key == "coupling_scale" || key.starts_with("dequant_"))  // newer than the first files
            EXPECT_EQ(model_from_json(bad), small_options().model);
        else
            expect_throw<InputError>([&] { model_from_json(bad); }, {key});
        bad = good;
        bad[key] = nlohmann::ordered_json::array();
        expect_throw<InputError>([&] { model_from_json(bad); }, {key, "wrong type"});
    }
    const auto refused = [&](const char* key, const nlohmann::ordered_json& value, const std::string& part) {
        nlohmann::ordered_json bad = good;
        bad[key] = value;
        expect_throw<InputError>([&] { model_from_json(bad); }, {part});
    };
    refused("levels", 0, "levels");
    refused("levels", -3, "levels");
    refused("levels", 1.5, "wrong type");
    refused("levels", 18446744073709551615u, "levels");
    refused("n_bits", 4294967304, "n-bits");  // 8 in 32 bits
    refused("image_height", 9, "divisible");
    refused("width", 1000000, "width");
    refused("depth", 1000000000, "depth");
    refused("coupling", "multiplicative", "coupling");
    refused("coupling_scale", "exp", "coupling scale must be sigmoid or tanh, got 'exp'");
    refused("dequant_depth", -1, "--dequant-depth");
    refused("edge_bias", 1, "wrong type");
    expect_throw<InputError>([] { model_from_json(nlohmann::ordered_json::array()); }, {"not a JSON object"});
}

TEST(Options, ConfigTomlHoldsEveryOption) {
    TrainingOptions o = small_options();
    o.data = "it's here, with = and ;.h5";
    o.out = "run";
    o.engines = "products,products";  // empty values are not written
    o.algorithms = "nt 64 8 16 bf16 f32 none set 3";
    o.model.edge_bias = false;
    const std::string text = std::string("\n").append(to_toml(o));
    visit_training_options(o, [&](const char* name, const auto&, OnResume, const char*) {
        EXPECT_NE(text.find(fmt::format("\n{} = ", name)), std::string::npos) << name;
    });
    EXPECT_NE(text.find("\ndata = \"it's here, with = and ;.h5\"\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nseed = 5\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nedge-bias = false\n"), std::string::npos);
    EXPECT_NE(text.find("\nlearn-top = true\n"), std::string::npos);
    EXPECT_NE(text.find("\nshuffle = true\n"), std::string::npos);
    o.seed = std::uint64_t{1} << 63;  // exceeds TOML's integers
    for (const auto& [name, line] : {std::pair{"two\nlines", R"(data = "two\nlines")"},
                                     {"both ' and \"", R"(data = "both ' and \"")"},
                                     {"no # comment", "data = 'no # comment'"},
                                     {"no escape: \\n", "data = 'no escape: \\n'"},
                                     {"it's no escape: \\n", R"(data = "it's no escape: \\n")"},
                                     {"tab\t\x01\x7f", R"(data = "tab\t\u0001\u007f")"},
                                     {"caf\xc3\xa9", "data = 'caf\xc3\xa9'"}}) {
        o.data = name;
        const std::string written = to_toml(o);
        EXPECT_NE(written.find(std::string("\n") + line + "\n"), std::string::npos) << written;
        EXPECT_NE(written.find("\nseed = '9223372036854775808'\n"), std::string::npos) << written;
    }
    for (const char* name : {"caf\xe9", "\xff", "cut \xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"}) {
        o.data = name;
        expect_throw<InputError>([&] { to_toml(o); }, {"is not UTF-8", "config.toml"});
    }
}

}  // namespace
}  // namespace glow
