// Options from TOML text: accepted forms, and errors with file, line and key.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <limits>
#include <thread>

#include "tests/data/files.h"
#include "tools/config_file.h"
#include "tools/numbers.h"
#include "tools/training_options.h"
#include "train/options.h"

namespace glow {
namespace {

// The options of glow_train, as a file sets them.
struct Configured {
    Configured() {
        app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
        add_training_options(app, options);
        app.add_option("--device", device)->configurable(false);
    }
    // The options as written back, or the error message.
    std::string read(const std::string& text) {
        try {
            origins = apply_config(app, "c.toml", text);
        } catch (const InputError& error) {
            return error.what();
        }
        return written();
    }
    std::string written() { return "\n" + to_toml(options); }

    CLI::App app{"", "glow_train"};
    TrainingOptions options;
    std::string device = "auto";
    ValueOrigins origins;
};

struct Case {
    std::string text, expected;
};

TEST(Config, FollowsToml) {
    const Case cases[] = {
        {"", "\nlevels = 3\n"},
        {"# nothing but a comment", "\nlevels = 3\n"},
        {"levels = 2", "\nlevels = 2\n"},
        {"levels = 2\n", "\nlevels = 2\n"},
        {"\xef\xbb\xbflevels = 2\n", "\nlevels = 2\n"},
        {"levels = 2\r\nwidth = 7\r\n", "\nwidth = 7\n"},
        {"\n\n  levels  =  2  # two\n", "\nlevels = 2\n"},
        {"\"levels\" = 2\n", "\nlevels = 2\n"},
        {"'max-steps' = 5\n", "\nmax-steps = 5\n"},
        {"max-steps = 1_000\n", "\nmax-steps = 1000\n"},
        {"max-steps = +8\n", "\nmax-steps = 8\n"},
        {"seed = 0x10\n", "\nseed = 16\n"},
        {"seed = 0o10\n", "\nseed = 8\n"},
        {"seed = 0b10\n", "\nseed = 2\n"},
        {"seed = 9223372036854775807\n", "\nseed = 9223372036854775807\n"},
        {"seed = '18446744073709551615'\n", "\nseed = '18446744073709551615'\n"},
        {"lr = 0.002\n", "\nlr = 0.002\n"},
        {"lr = 2e-3\n", "\nlr = 0.002\n"},
        {"lr = 1\n", "\nlr = 1\n"},
        {"lr = 0.1\n", "\nlr = 0.1\n"},
        {"epochs = 1_0.5\n", "\nepochs = 10.5\n"},
        {"shuffle = false\n", "\nshuffle = false\n"},
        {"eval-every = '30m'\n", "\neval-every = '30m'\n"},
        {"eval-every = 100\n", "\neval-every = '100'\n"},
        {"eval-every = '010m'\n", "\neval-every = '10m'\n"},
        {"act-budget = 4096\n", "\nact-budget = 4096\n"},
        {"act-budget = '500MiB'\n", "\nact-budget = 524288000\n"},
        {"act-budget = '010 kib'\n", "\nact-budget = 10240\n"},
        {"out = \"run #3\" # a comment\n", "\nout = 'run #3'\n"},
        {"out = 'a \"b\" \\ c'\n", "\nout = 'a \"b\" \\ c'\n"},
        {"out = \"a\\u00e9\"\n", "\nout = 'a\xc3\xa9'\n"},
        {"out = \"a\\U0001F600b\"\n",
         "\nout = 'a\xf0\x9f\x98\x80"
         "b'\n"},
        {"out = \"\"\"\na\nb\"\"\"\n", "\nout = \"a\\nb\"\n"},
        {"out = '''\na 'b' c'''\n", "\nout = \"a 'b' c\"\n"},
        {"out = \"\"\"a \\\n   b\"\"\"\n", "\nout = 'a b'\n"},
        {"out = \"\"\"a\"\"\"\"\" # two quotes in the string\n", "\nout = 'a\"\"'\n"},
        {"out = '''a\r\nb'''\r\nwidth = 7\r\n", "\nout = \"a\\nb\"\n"},
        {"out = \"\"\"\\\n\n   a\"\"\"\nwidth = 7\n", "\nwidth = 7\n"},
        {"out = \"\\b\\t\\n\\f\\r\\\"\\\\\"\n", "\nout = \"\\u0008\\t\\n\\u000c\\r\\\"\\\\\"\n"},
        {"out = \"\"\"a\"\"\\  \n\n \"b\"\"\"\"\n", "\nout = 'a\"\"\"b\"'\n"},
        {"lr = +1.5E-0_3\n", "\nlr = 0.0015\n"},
        {"coupling = 'additive'\n", "\ncoupling = 'additive'\n"},
    };
    for (const Case& c : cases) {
        Configured configured;
        const std::string text = configured.read(c.text);
        EXPECT_NE(text.find(c.expected), std::string::npos) << c.text << "\ngives " << text;
    }
}

std::string repeated(const std::string& text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

TEST(Config, RejectsOtherContentWithFileLineAndKey) {
    const Case cases[] = {
        // Four cases that were once misread silently.
        {"lr = 0,002\n", "c.toml:1: lr must be one number, got '0,002'"},
        {"depth = 3\nbatch = 1,024\n", "c.toml:2: batch must be one integer, got '1,024'"},
        {"levels = [2, 4]\n", "c.toml:1: levels must be one integer, got an array"},
        {"levels = 2\nlevels = 3\n", "c.toml:2: not TOML: "},
        {"lr = 0.001 0.002\n", "c.toml:1: lr must be one number, got '0.001 0.002'"},
        // Keys.
        {"\nlevels = 2\nlevles = 3\n", "c.toml:3: unknown option 'levles'; did you mean 'levels'?"},
        {"max_steps = 3\n", "c.toml:1: unknown option 'max_steps'; did you mean 'max-steps'?"},
        {"LR = 3\n", "c.toml:1: unknown option 'LR'; did you mean 'lr'?"},
        {"--depth = 3\n", "c.toml:1: unknown option '--depth'; did you mean 'depth'?"},
        {"lerning-rate = 3\n", "c.toml:1: unknown option 'lerning-rate' (glow_train --help lists"},
        {"'' = 3\n", "c.toml:1: unknown option ''"},
        {"'a\\b' = 3\n", "c.toml:1: unknown option 'a\\b'"},
        {"device = 'cpu'\n", "c.toml:1: 'device' can only be given on the command line"},
        {"help = true\n", "c.toml:1: 'help' can only be given on the command line"},
        {"no-shuffle = true\n", "c.toml:1: unknown option 'no-shuffle'; write shuffle = false"},
        {"levels = 2\n[train]\nlr = 0.1\n", "c.toml:2: 'train' is a table"},
        {"\ntrain.lr = 0.1\n", "c.toml:2: 'train' is a table"},
        {"a.b.c.lr = 0.1\n", "c.toml:1: 'a' is a table"},
        {"lr.x = 0.1\n", "c.toml:1: lr must be one number, got a table"},
        {"[lr]\n", "c.toml:1: lr must be one number, got a table"},
        {"[[lr]]\n", "c.toml:1: lr must be one number, got an array"},
        {"lr = {x = 1}\n", "c.toml:1: lr must be one number, got a table"},
        {"levels = 2\n\"levels\" = 2\n", "c.toml:2: not TOML: "},
        // Types.
        {"levels = 2.0\n", "c.toml:1: levels must be one integer, got 2.0"},
        {"levels = 1e3\n", "c.toml:1: levels must be one integer, got 1e3"},
        {"levels = '2'\n", "c.toml:1: levels must be one integer, got \"2\""},
        {"levels = true\n", "c.toml:1: levels must be one integer, got true"},
        {"levels = [[2]]\n", "c.toml:1: levels must be one integer, got an array"},
        {"levels = []\n", "c.toml:1: levels must be one integer, got an array"},
        {"lr = '0.1'\n", "c.toml:1: lr must be one number, got \"0.1\""},
        {"lr = 1979-05-27\n", "c.toml:1: lr must be one number, got a date or time"},
        {"lr = 07:32:00\n", "c.toml:1: lr must be one number, got a date or time"},
        {"lr = 1979-05-27T07:32:00Z\n", "c.toml:1: lr must be one number, got a date or time"},
        {"lr = nan\n", "c.toml:1: lr must be one number, got 'nan'"},
        {"lr = -inf\n", "c.toml:1: lr must be one number, got '-inf'"},
        {"shuffle = 1\n", "c.toml:1: shuffle must be true or false, got 1"},
        {"shuffle = 'true'\n", "c.toml:1: shuffle must be true or false, got \"true\""},
        {"out = 3\n", "c.toml:1: out must be a string, got 3"},
        {"out = true\n", "c.toml:1: out must be a string, got true"},
        {"out = 1979-05-27\n", "c.toml:1: out must be a string, got a date or time"},
        {"out = ['a']\n", "c.toml:1: out must be a string, got an array"},
        {"eval-every = 2.5\n", "c.toml:1: eval-every must be a number of steps"},
        {"act-budget = 2.5\n", "c.toml:1: act-budget must be a number of bytes"},
        {"seed = '7'\n", "c.toml:1: seed must be one integer, 0 or more, got \"7\""},
        // Values.
        {"seed = -1\n", "c.toml:1: seed must be one integer, 0 or more, got '-1'"},
        {"seed = '18446744073709551616'\n", "c.toml:1: seed must be one integer, 0 or more"},
        {"seed = 18446744073709551616\n", "c.toml:1: seed: '18446744073709551616' is out of range"},
        {"seed = 9223372036854775808\n",
         "c.toml:1: seed: TOML has no integers above 9223372036854775807: write '9223372036854775808', in "
         "quotes"},
        {"levels = 99999999999999999999\n", "c.toml:1: levels: '99999999999999999999' is out of range"},
        {"n-bits = 4294967304\n", "c.toml:1: n-bits"},
        // Out of range as on the command line, whatever the TOML library makes of it.
        {"lr = 1e-400\n", "c.toml:1: lr: '1e-400' is out of range"},
        {"lr = 1e400\n", "c.toml:1: lr: '1e400' is out of range"},
        {"lr = -1_0e+4_00 # large\n", "c.toml:1: lr: '-10e+400' is out of range"},
        {"seed = 0xffffffffffffffff\n", "c.toml:1: seed must be one integer, 0 or more, got '0xff"},
        {"act-budget = '4 apples'\n", "c.toml:1: act-budget must be a number of bytes"},
        {"act-budget = -1\n", "c.toml:1: act-budget must be a number of bytes"},
        {"eval-every = '10s'\n", "c.toml:1: eval-every: \"10s\" is not an interval"},
        {"eval-every = -5\n", "c.toml:1: eval-every: \"-5\" is not an interval"},
        {"coupling = 'multiplicative'\n",
         "c.toml:1: coupling must be affine or additive, got 'multiplicative'"},
        {"augment = 'rotate'\n", "c.toml:1: augment must be none, flip, shift or shift+flip, got 'rotate'"},
        {"precision = 'fp8'\n", "c.toml:1: precision must be fp32, tf32 or bf16, got 'fp8'"},
        {"out = \"a\\u0000b\"\n", "c.toml:1: out contains a zero character"},
        // Not TOML.
        {"levels = 02\n", "c.toml:1: levels must be one integer, got '02'"},
        {"levels 2\n", "c.toml:1: not TOML"},
        {"levels =\n", "c.toml:1: not TOML"},
        {"= 2\n", "c.toml:1: not TOML"},
        {"memory = store\n", "c.toml:1: memory must be a string in quotes, got 'store'"},
        {"eval-every = 30m # often\n", "c.toml:1: eval-every must be a number of steps (100) or minutes"},
        {"lr = 0x1p3\n", "c.toml:1: lr must be one number, got '0x1p3'"},
        {"lr = 1.\n", "c.toml:1: lr must be one number, got '1.'"},
        {"lr = 1.e3\n", "c.toml:1: lr must be one number, got '1.e3'"},
        {"lr = 1__0\n", "c.toml:1: lr must be one number, got '1__0'"},
        {"lr = 1_\n", "c.toml:1: lr must be one number, got '1_'"},
        {"lr = 1e\n", "c.toml:1: lr must be one number, got '1e'"},
        {"lr = 0_1\n", "c.toml:1: lr must be one number, got '0_1'"},
        {"seed = +0x1\n", "c.toml:1: seed must be one integer, 0 or more, got '+0x1'"},
        {"lr = .5\n", "c.toml:1: lr must be one number, got '.5'"},
        {"shuffle = True\n", "c.toml:1: shuffle must be true or false, got 'True'"},
        {"out = 'a\n'\n", "c.toml:1: not TOML"},
        {"out = \"a\\qb\"\n", "c.toml:1: not TOML"},
        {"out = \"\\ud800\"\n", "c.toml:1: not TOML"},
        {"out = 'unclosed", "c.toml:1: not TOML"},
        {"levels = 2 width = 3\n", "c.toml:1: levels must be one integer, got '2 width = 3'"},
        {std::string("out = 'a\x01'\n"), "c.toml:1: not TOML"},
        {std::string("levels = 2\n\0", 12), "c.toml:2: it contains a zero byte"},
        {"levels = 2\rdepth = 3\r", "c.toml:1: a line ends with only a carriage return"},
        {"levels = 2\nout = 'a\xff'\n", "c.toml:2: it is not UTF-8"},
        {"out = '\xed\xa0\x80'\n", "c.toml:1: it is not UTF-8"},
        {"out = '\xc0\x80'\n", "c.toml:1: it is not UTF-8"},
        {std::string("\xff\xfel\0=\0", 6), "c.toml: it is UTF-16"},
        {std::string("\xfe\xff\0l\0=", 6), "c.toml: it is UTF-16"},
        {std::string("l\0e\0", 4), "c.toml:1: it contains a zero byte"},
        {"# one\ta \x01\n", "c.toml:1: not TOML: it contains a control character"},
        {"levels = 2\nout = \"\"\"\na\n\n", "c.toml:2: not TOML: "},
        {"levels = [2,\n3\n", "c.toml:1: not TOML: "},
        {"levels = 2\nwidth = [2, # ]\n']', 3\n]\n", "c.toml:2: width must be one integer, got an array"},
        {"out = \"a\\xffb\"\n", "c.toml:1: not TOML"},
        {"out = \"a\\eb\"\n", "c.toml:1: not TOML"},
        {"out = \"a\\U00110000b\"\n", "c.toml:1: not TOML"},
        {"out = 'a' 'b'\n", "c.toml:1: not TOML"},
        {"lev els = 2\n", "c.toml:1: not TOML"},
        {"\"\"\"levels\"\"\" = 2\n", "c.toml:1: not TOML"},
        {"l\xc3\xa9vels = 2\n", "c.toml:1: not TOML"},
        {"[.]\n", "c.toml:1: not TOML"},
        {"[train\nlr = 1\n", "c.toml:1: not TOML: "},
        {"levels = 2\nwidth = 3\n[a]\nx = 1\n[a]\ny = 1\n", "c.toml:5: not TOML: "},
        // Nesting that overflows the stack of TOML libraries.
        {"levels = " + std::string(100000, '['), "c.toml:1: not TOML: it has too many brackets"},
        {"levels = " + std::string(50000, '[') + std::string(50000, ']'), "c.toml:1: not TOML: it has"},
        {"levels = " + repeated("{a=", 50000), "c.toml:1: not TOML: it has too many brackets"},
        {"levels = [\n" + repeated("[\n", 50000), "c.toml:201: not TOML: it has too many brackets"},
        {repeated("a.", 100000) + "a = 1\n", "c.toml:1: not TOML: it has too many dots"},
        {"[" + repeated("a.", 100000) + "a]\n", "c.toml:1: not TOML: it has too many dots"},
    };
    for (const Case& c : cases) {
        Configured configured;
        const std::string text = configured.read(c.text);
        EXPECT_TRUE(text.starts_with(c.expected)) << c.text.substr(0, 200) << "\ngives " << text;
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    }
}

// Reports the first wrong line, independent of the order of the names.
TEST(Config, ReportsFirstError) {
    EXPECT_TRUE(Configured().read("width = 'w'\nlevels = 'l'\n").starts_with("c.toml:1: width"));
    EXPECT_TRUE(Configured().read("levels = 'l'\nwidth = 'w'\n").starts_with("c.toml:1: levels"));
}

TEST(Config, CommandLineOverridesFile) {
    Configured configured;
    configured.read("levels = 2\nlr = 0.5\nshuffle = false\neval-every = '7m'\naugment = 'none'\n");
    EXPECT_EQ(configured.app.get_option("--levels")->count(), 0u);
    const char* arguments[] = {"glow_train", "--levels", "4", "--shuffle", "--eval-every", "9"};
    configured.app.parse(6, arguments);
    const std::string text = configured.written();
    for (const char* line :
         {"levels = 4", "lr = 0.5", "shuffle = true", "eval-every = '9'", "augment = 'none'"})
        EXPECT_NE(text.find(fmt::format("\n{}\n", line)), std::string::npos) << line << text;
    // A later check reports where the value came from.
    EXPECT_EQ(with_origin(configured.app, configured.origins, "--lr 7: it must be less"),
              "c.toml:2: --lr 7: it must be less");
    EXPECT_EQ(with_origin(configured.app, configured.origins, "--levels is 4; no"), "--levels is 4; no");
    EXPECT_EQ(with_origin(configured.app, configured.origins, "no file"), "no file");
}

TEST(Config, RoundTrips) {
    const std::vector<std::string> names = {"plain",
                                            "it's",
                                            "both ' and \"",
                                            "no # comment",
                                            "back\\slash \\n",
                                            "two\nlines",
                                            "tab\there",
                                            "\x01\x1f\x7f",
                                            "cr\rlf\r\n",
                                            " blanks ",
                                            "[a, b]",
                                            "{x}",
                                            "a=b",
                                            "'''",
                                            "\"\"\"",
                                            "caf\xc3\xa9",
                                            "\xf0\x9f\x98\x80",
                                            "true",
                                            "12",
                                            "-",
                                            "\\",
                                            "trailing\\"};
    for (const std::string& name : names) {
        TrainingOptions options;
        options.data = name;
        options.out = name + "/" + name;
        options.seed = std::numeric_limits<std::uint64_t>::max();
        options.lr = 0.1 + 0.2;
        options.weight_decay = 5e-324;
        options.loss_jump = 1e15 / 3;
        options.eval_every = {1e15, false};
        options.sample_every = {0.1, true};
        options.act_budget = index_t{1} << 60;
        options.engines = "products,cudnn,products";
        options.shuffle = false;
        options.augment = {.flip = true, .shift = true};
        Configured configured;
        EXPECT_EQ(configured.read(to_toml(options)), "\n" + to_toml(options)) << name;
        EXPECT_EQ(configured.options.data, options.data);
        EXPECT_EQ(configured.options.out, options.out);
        EXPECT_EQ(to_json(configured.options), to_json(options)) << name;
    }
    for (const std::uint64_t seed :
         {std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 1}) {
        TrainingOptions options;
        options.seed = seed;
        Configured configured;
        configured.read(to_toml(options));
        EXPECT_EQ(configured.options.seed, seed);
    }
}

TEST(Config, ReadsFilesOfEarlierVersions) {
    // The config.toml of a published run.
    const std::string old =
        read_bytes(std::string(GLOW_SOURCE_FOLDER) + "/docs/reference/cifar10-quick/config.toml");
    ASSERT_TRUE(old.starts_with("# The options of a run. Once more, elsewhere: "));
    Configured configured;
    const std::string text = configured.read(old);
    // Every line is preserved.
    for (std::size_t begin = old.find('\n'); begin + 1 < old.size();) {
        const std::size_t end = old.find('\n', begin + 1);
        const std::string line = old.substr(begin, end - begin + 1);
        EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in" << text;
        begin = end;
    }
    // Such files may also contain invalid TOML and other quotes.
    const std::string first = old.substr(0, old.find('\n') + 1);
    Configured odd;
    odd.read(
        first + "data = \"it's, x=2.h5\"\nout = 'a\x01 b'\nseed = 18446744073709551615\nlr = 3e-05\n" +
        "act-budget = 0\nengines = 'products,products'\ncheckpoint-every = '0.5m'\ncondition-jump = 1e+15\n");
    EXPECT_EQ(odd.options.data, "it's, x=2.h5");
    EXPECT_EQ(odd.options.out, "a\x01 b");
    EXPECT_EQ(odd.options.seed, std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(odd.options.lr, 3e-05);
    EXPECT_EQ(odd.options.engines, "products,products");
    EXPECT_EQ(odd.options.checkpoint_every, (Interval{0.5, true}));
    EXPECT_EQ(odd.options.condition_jump, 1e15);
}

TEST(Config, RejectsUnreadablePaths) {
    const TemporaryFolder folder;
    const auto refused = [&](const std::filesystem::path& path, const std::string& part) {
        Configured configured;
        try {
            apply_config(configured.app, path);
            ADD_FAILURE() << path << " was read";
        } catch (const InputError& error) {
            EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        }
    };
    refused(folder / "none", "No such file");
    refused(folder.path(), "folder");
    refused(folder / std::string(300, 'a'), "too long");
    std::filesystem::create_symlink("loop", folder / "loop");
    refused(folder / "loop", "symbolic links");
    ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
    refused(folder / "pipe", "the pipe is empty");  // must not wait for a writer
    refused("/dev/zero", "larger than");
    write_bytes(folder / "large", std::string(2 << 20, '#'));
    refused(folder / "large", "larger than");
    write_bytes(folder / "secret", "levels = 2\n");
    std::filesystem::permissions(folder / "secret", std::filesystem::perms::none);
    if (open((folder / "secret").c_str(), O_RDONLY) < 0) refused(folder / "secret", "ermission");  // not root
}

TEST(Config, ReadsPipe) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    std::thread writer([&ends] {
        for (const std::string part : {"levels", " = 2\nwid", "th = 7\n"}) {
            EXPECT_EQ(write(ends[1], part.data(), part.size()), static_cast<ssize_t>(part.size()));
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        close(ends[1]);
    });
    Configured configured;
    EXPECT_NO_THROW(apply_config(configured.app, std::filesystem::path(fmt::format("/dev/fd/{}", ends[0]))));
    writer.join();
    close(ends[0]);
    EXPECT_EQ(configured.options.model.levels, 2);
    EXPECT_EQ(configured.options.model.width, 7);
}

}  // namespace
}  // namespace glow
