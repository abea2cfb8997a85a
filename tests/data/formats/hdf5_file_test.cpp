#include "data/formats/hdf5_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>
#include <functional>
#include <limits>
#include <thread>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_probe.h"
#include "kernels/error.h"
#include "tests/data/files.h"

// HDF5 leaks memory of files that it could not close (full-disk tests).
extern "C" const char* __lsan_default_suppressions() {
    return "leak:libhdf5";
}

namespace {
int g_reads_until_failure = 0;  // the read that makes it 0 fails
}

// Replaces pread(). The declaration avoids that of a C library that checks sizes.
extern "C" ssize_t failing_pread(int file, void* to, std::size_t bytes, off_t position) __asm__("pread");
extern "C" ssize_t failing_pread(int file, void* to, std::size_t bytes, off_t position) {
    if (g_reads_until_failure > 0 && --g_reads_until_failure == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, file, to, bytes, position);
}

namespace glow {
namespace {

// Writes files through the HDF5 C interface, for content that our writer never produces.
class RawFile {
  public:
    explicit RawFile(const std::filesystem::path& path)
        : id_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {}
    ~RawFile() { H5Fclose(id_); }
    RawFile(const RawFile&) = delete;
    RawFile& operator=(const RawFile&) = delete;
    operator hid_t() const { return id_; }

    // An array; without values it is created but never written.
    void array(const char* name, hid_t type, const std::vector<hsize_t>& shape, const void* values = nullptr,
               hid_t create = H5P_DEFAULT) const {
        const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
        const hid_t data = H5Dcreate2(id_, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
        EXPECT_GE(data, 0) << name;
        if (values != nullptr) {
            EXPECT_GE(H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
        }
        H5Dclose(data);
        H5Sclose(space);
    }
    void attribute(const char* name, hid_t type, const void* value, hsize_t count = 0) const {
        const hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr);
        const hid_t attribute = H5Acreate2(id_, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        EXPECT_GE(H5Awrite(attribute, type, value), 0);
        H5Aclose(attribute);
        H5Sclose(space);
    }

  private:
    hid_t id_;
};

// Creation properties of a chunked data set.
hid_t chunked(const std::vector<hsize_t>& chunk) {
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, static_cast<int>(chunk.size()), chunk.data());
    return create;
}

template <class T>
void expect_round_trip(const std::vector<T>& values) {
    const TemporaryFolder folder;
    const auto n = static_cast<index_t>(values.size());
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.write<T>("/group/inner/array", {n, 1}, values.data());
    file.create_growing<T>("/growing", {});
    file.append<T>("/growing", 1, values.data());
    file.append<T>("/growing", n - 1, values.data() + 1);
    file.close();
    const Hdf5File read = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(read.read<T>("/group/inner/array", {n, 1}), values);
    EXPECT_EQ(read.read<T>("/growing", {n}), values);
    std::vector<T> rows(2);
    read.read_rows<T>("/growing", 1, 2, rows.data());
    EXPECT_EQ(rows, std::vector<T>(values.begin() + 1, values.begin() + 3));
}

TEST(Hdf5File, RoundTrips) {
    expect_round_trip<std::uint8_t>({0, 1, 128, 255});
    expect_round_trip<std::int32_t>({std::numeric_limits<std::int32_t>::min(), -1, 0, 2147483647});
    expect_round_trip<float>({-0.0f, 1e-45f, 3.4e38f, std::numeric_limits<float>::infinity()});
    expect_round_trip<double>({0.1, 5e-324, -1.7e308, 3});
}

TEST(Hdf5File, AppendsKeepRowOrder) {
    const TemporaryFolder folder;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.create_growing<std::int32_t>("/a", {3});
    std::vector<std::int32_t> all;
    for (index_t rows : {1, 5000, 7, 0, 12345, 1}) {
        const std::size_t start = all.size();
        for (index_t i = 0; i < 3 * rows; ++i) all.push_back(static_cast<std::int32_t>(all.size()));
        file.append("/a", rows, all.data() + start);
    }
    file.close();
    EXPECT_EQ(Hdf5File::open(folder / "a.h5").read<std::int32_t>("/a", {17354, 3}), all);
}

TEST(Hdf5File, ReadsRowsInAnyOrder) {
    const TemporaryFolder folder;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.create_growing<std::uint8_t>("/a", {2});
    std::vector<std::uint8_t> all;
    for (int i = 0; i < 200; ++i) all.push_back(static_cast<std::uint8_t>(i));
    file.append("/a", 100, all.data());
    file.close();
    const Hdf5File read = Hdf5File::open(folder / "a.h5");
    for (const std::vector<index_t>& rows :
         {std::vector<index_t>{0, 1, 2, 7, 8, 99}, {5}, {3, 3, 4, 4, 2, 1}, {98, 99, 0, 1}, {10, 12, 14}}) {
        std::vector<std::uint8_t> found(2 * rows.size()), expected;
        for (const index_t row : rows)
            expected.insert(expected.end(), all.begin() + 2 * row, all.begin() + 2 * row + 2);
        read.read_scattered_rows("/a", rows.data(), std::ssize(rows), found.data());
        EXPECT_EQ(found, expected);
    }
    const std::vector<index_t> beyond = {98, 99, 100};
    std::vector<std::uint8_t> found(6);
    expect_throw<InputError>([&] { read.read_scattered_rows("/a", beyond.data(), 3, found.data()); },
                             {"0..99", "found 100"});
}

TEST(Hdf5File, SupportsScalarsAndEmptyArrays) {
    const TemporaryFolder folder;
    const double value = 2.5;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.write<double>("/scalar", {}, &value);
    file.write<double>("/empty", {0, 4}, nullptr);
    file.close();
    const Hdf5File read = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(read.read<double>("/scalar", {}), std::vector<double>{2.5});
    EXPECT_EQ(read.describe("/empty").shape, (std::vector<index_t>{0, 4}));
    EXPECT_EQ(read.describe("/empty").elements, 0);
    EXPECT_TRUE(read.read<double>("/empty", {0, 4}).empty());
}

TEST(Hdf5File, ReadsAllAttributeTypes) {
    const TemporaryFolder folder;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    const float value = 1;
    file.write<float>("/g/array", {1}, &value);  // makes the group
    file.set_string("/", "text", "first");
    file.set_string("/", "text", "grüße {\"a\": 1}");
    file.set_string("/g", "empty", "");
    file.set_integer("/g", "integer", std::numeric_limits<std::int64_t>::min());
    file.set_number("/", "number", 0.1);
    file.close();
    const Hdf5File read = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(read.string_attribute("/", "text"), "grüße {\"a\": 1}");
    EXPECT_EQ(read.string_attribute("/g", "empty"), "");
    EXPECT_EQ(read.integer_attribute("/g", "integer"), std::numeric_limits<std::int64_t>::min());
    EXPECT_EQ(read.number_attribute("/", "number"), 0.1);
    EXPECT_EQ(read.number_attribute("/g", "integer"), -9223372036854775808.0);
    EXPECT_TRUE(read.has_attribute("/g", "empty"));
    EXPECT_FALSE(read.has_attribute("/g", "text"));
}

TEST(Hdf5File, ReadsForeignAttributes) {
    const TemporaryFolder folder;
    {
        const RawFile raw(folder / "a.h5");
        const hid_t fixed = H5Tcopy(H5T_C_S1);
        H5Tset_size(fixed, 8);
        raw.attribute("null_terminated", fixed, "abc\0\0\0\0\0");
        H5Tset_strpad(fixed, H5T_STR_NULLPAD);
        raw.attribute("null_padded", fixed, "abcdefgh");
        H5Tset_strpad(fixed, H5T_STR_SPACEPAD);
        raw.attribute("space_padded", fixed, "abc     ");
        const hid_t variable = H5Tcopy(H5T_C_S1);
        H5Tset_size(variable, H5T_VARIABLE);
        const char* text = "ascii";
        raw.attribute("variable", variable, &text);
        const std::uint8_t small = 200;
        raw.attribute("uint8", H5T_STD_U8LE, &small);
        const std::int32_t one = 1;
        raw.attribute("array_of_one", H5T_NATIVE_INT32, &one, 1);
        const std::uint64_t huge = ~std::uint64_t{0};
        raw.attribute("huge", H5T_NATIVE_UINT64, &huge);
        const std::int32_t two[2] = {1, 2};
        raw.attribute("two", H5T_NATIVE_INT32, two, 2);
        H5Tclose(fixed);
        H5Tclose(variable);
    }
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(file.string_attribute("/", "null_terminated"), "abc");
    EXPECT_EQ(file.string_attribute("/", "null_padded"), "abcdefgh");
    EXPECT_EQ(file.string_attribute("/", "space_padded"), "abc");
    EXPECT_EQ(file.string_attribute("/", "variable"), "ascii");
    EXPECT_EQ(file.integer_attribute("/", "uint8"), 200);
    EXPECT_EQ(file.integer_attribute("/", "array_of_one"), 1);
    expect_throw<InputError>([&] { file.integer_attribute("/", "huge"); }, {"huge", "too large"});
    expect_throw<InputError>([&] { file.integer_attribute("/", "two"); }, {"two", "one value"});
    expect_throw<InputError>([&] { file.integer_attribute("/", "variable"); },
                             {"expected an integer", "a string"});
    expect_throw<InputError>([&] { file.string_attribute("/", "uint8"); }, {"expected a string", "uint8"});
    expect_throw<InputError>([&] { file.number_attribute("/", "variable"); }, {"expected a number"});
    expect_throw<InputError>([&] { file.string_attribute("/", "none"); }, {"a.h5", "none", "missing"});
}

TEST(Hdf5File, ListsArraysSorted) {
    const TemporaryFolder folder;
    const float value = 1;
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    for (const char* name : {"/params/b/x", "/params/a", "/params/b/c/d", "/other"})
        file.write<float>(name, {1}, &value);
    file.close();
    const hid_t raw = H5Fopen((folder / "a.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(raw, "/params/nothing", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(raw);
    const Hdf5File read = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(read.arrays("/params"),
              (std::vector<std::string>{"/params/a", "/params/b/c/d", "/params/b/x"}));
    EXPECT_EQ(read.arrays("/params/"), read.arrays("/params"));
    EXPECT_EQ(read.arrays().size(), 4u);
    EXPECT_TRUE(read.arrays("/none").empty());
    EXPECT_TRUE(read.exists("/params/b"));
    EXPECT_TRUE(read.exists("/"));
    EXPECT_FALSE(read.exists("/params/z/x"));
    expect_throw<InputError>([&] { read.arrays("/other"); }, {"expected a group"});
}

TEST(Hdf5File, SameContentGivesSameBytes) {
    const TemporaryFolder folder;
    for (const char* name : {"a.h5", "b.h5"}) {
        Hdf5File file = Hdf5File::create(folder / name);
        const float value = 1;
        file.write<float>("/g/array", {1}, &value);
        file.set_string("/", "text", "x");
        file.close();
    }
    EXPECT_EQ(read_bytes(folder / "a.h5"), read_bytes(folder / "b.h5"));
}

TEST(Hdf5File, ReadsBigEndianAndCompressedArrays) {
    const TemporaryFolder folder;
    const std::vector<float> values(100000, 1.5f);
    {
        const RawFile raw(folder / "a.h5");
        const hid_t create = chunked({1000});
        H5Pset_shuffle(create);
        H5Pset_deflate(create, 9);
        H5Pset_fletcher32(create);
        const hid_t space_type = H5T_NATIVE_FLOAT;
        raw.array("gzip", space_type, {100000}, values.data(), create);
        H5Pclose(create);
        const hsize_t shape = 100000;
        const hid_t space = H5Screate_simple(1, &shape, nullptr);
        const hid_t data =
            H5Dcreate2(raw, "big", H5T_IEEE_F32BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
        H5Dclose(data);
        H5Sclose(space);
    }
    EXPECT_LT(std::filesystem::file_size(folder / "a.h5"), 500000u);
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(file.read<float>("/gzip", {100000}), values);
    EXPECT_EQ(file.read<float>("/big", {100000}), values);
}

TEST(Hdf5File, ReportsBytesUnpackedPerRow) {
    const TemporaryFolder folder;
    {
        const std::vector<std::uint8_t> values(60 * 8 * 8 * 3, 1);
        const RawFile raw(folder / "a.h5");
        const std::vector<hsize_t> shape = {60, 8, 8, 3};
        raw.array("contiguous", H5T_STD_U8LE, shape, values.data());
        for (const auto& [name, chunk] :
             std::vector<std::pair<std::string, std::vector<hsize_t>>>{{"one", {1, 8, 8, 3}},
                                                                       {"all", {60, 8, 8, 3}},
                                                                       {"split", {20, 4, 8, 1}},
                                                                       {"odd", {20, 5, 8, 3}}}) {
            const hid_t create = chunked(chunk);
            raw.array(("plain_" + name).c_str(), H5T_STD_U8LE, shape, values.data(), create);
            H5Pset_deflate(create, 1);
            raw.array(("gzip_" + name).c_str(), H5T_STD_U8LE, shape, values.data(), create);
            H5Pclose(create);
        }
    }
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(file.chunks("/contiguous").rows, 0);
    EXPECT_EQ(file.chunks("/contiguous").row_bytes, 192);
    EXPECT_EQ(file.chunks("/plain_all").rows, 60);
    EXPECT_EQ(file.chunks("/gzip_split").bytes, 640);
    for (const char* name : {"contiguous", "plain_one", "plain_all", "plain_split", "plain_odd", "gzip_one"})
        EXPECT_EQ(file.chunks("/" + std::string(name)).rows_unpacked, 1) << name;
    EXPECT_EQ(file.chunks("/gzip_all").rows_unpacked, 60);
    EXPECT_EQ(file.chunks("/gzip_split").rows_unpacked, 20);  // an image spans six chunks
    EXPECT_EQ(file.chunks("/gzip_odd").rows_unpacked, 25);    // two chunks, the second partly empty
    EXPECT_TRUE(file.chunks("/gzip_odd").packed);
    EXPECT_FALSE(file.chunks("/plain_odd").packed);
}

TEST(Hdf5File, RejectsNonHdf5Files) {
    const TemporaryFolder folder;
    const auto open = [](const std::filesystem::path& path) { return [path] { Hdf5File::open(path); }; };
    write_bytes(folder / "text", "hello");
    write_bytes(folder / "empty", "");
    write_bytes(folder / "zeros", std::string(100000, '\0'));
    expect_throw<InputError>(open(folder / "none"), {"none", "No such file"});
    std::filesystem::create_symlink("/nowhere/1", folder / "dangling");
    expect_throw<InputError>(open(folder / "dangling"), {"dangling symbolic link to /nowhere/1"});
    expect_throw<InputError>(open(""), {"found an empty one"});
    expect_throw<InputError>(open(folder / "text"), {"text", "HDF5"});
    expect_throw<InputError>(open(folder / "empty"), {"empty", "HDF5"});
    expect_throw<InputError>(open(folder / "zeros"), {"zeros", "HDF5"});
    expect_throw<InputError>(open(folder.path()), {"found a folder"});
    expect_throw<InputError>(open("/dev/zero"), {"found a device or pipe"});
    expect_throw<InputError>(open(folder / "text/inner"), {"inner"});
}

std::string small_file(const TemporaryFolder& folder) {
    Hdf5File file = Hdf5File::create(folder / "small.h5");
    const std::vector<float> values(8, 1.0f);
    file.set_string("/", "format", "test");
    for (const char* name : {"/params/a/bias", "/params/a/logs", "/params/b/bias", "/params/b/logs"})
        file.write<float>(name, {8}, values.data());
    file.close();
    return read_bytes(folder / "small.h5");
}

void read_all(const std::filesystem::path& path) {
    const Hdf5File file = Hdf5File::open(path);
    file.string_attribute("/", "format");
    const auto names = file.arrays();
    if (names.size() != 4) throw InputError("arrays are missing");
    for (const std::string& name : names) file.read<float>(name, {8});
}

TEST(Hdf5File, RejectsTruncatedFiles) {
    const TemporaryFolder folder;
    const std::string bytes = small_file(folder);
    EXPECT_NO_THROW(read_all(folder / "small.h5"));
    for (std::size_t length = 0; length < bytes.size(); length += 97) {
        write_bytes(folder / "cut.h5", bytes.substr(0, length));
        expect_throw<InputError>([&] { read_all(folder / "cut.h5"); }, {"cut.h5"});
    }
}

// As a run does with latest.h5 and its oldest checkpoints.
// HDF5 returns zeros beyond the end, for example of a data set that another program rewrites in place.
TEST(Hdf5File, RejectsFileThatShrinksWhileOpen) {
    const TemporaryFolder folder;
    const std::filesystem::path path = folder / "a.h5";
    Hdf5File written = Hdf5File::create(path);
    const std::vector<std::uint8_t> rows(40 * 1000, 7);
    written.write<std::uint8_t>("/a", {40, 1000}, rows.data());
    written.write_strings("/names", {"first", "second"});
    written.set_string("/", "text", "words");
    written.set_integer("/", "whole", 3);
    written.set_number("/", "number", 0.5);
    written.close();
    const Hdf5File file = Hdf5File::open(path);
    // Structure that is in HDF5's cache is read without an error.
    file.describe("/a");
    file.read_strings("/names");
    file.string_attribute("/", "text");
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    std::vector<std::uint8_t> values(rows.size());
    const index_t row = 39;
    const std::vector<std::function<void()>> reads = {
        [&] {
            file.read<std::uint8_t>("/a", {40, 1000}, values.data());
        },
        [&] {
            file.read<std::uint8_t>("/a", {40, 1000});
        },
        [&] { file.read_rows<std::uint8_t>("/a", 0, 40, values.data()); },
        [&] { file.read_scattered_rows("/a", &row, 1, values.data()); },
        [&] { file.read_strings("/names"); },
        [&] { file.string_attribute("/", "text"); },
        [&] { file.integer_attribute("/", "whole"); },
        [&] { file.number_attribute("/", "number"); }};
    for (const auto& read : reads)
        expect_throw<InputError>(read, {"a.h5", "became shorter while it was open"});
}

TEST(Hdf5File, OpensLinkWhileItIsReplaced) {
    const TemporaryFolder folder;
    const std::string bytes = small_file(folder);
    const auto step = [&](int i) { return folder / fmt::format("step-{}.h5", i); };
    const auto replace = [&](int i) {
        write_bytes(step(i), bytes);
        std::filesystem::create_symlink(step(i).filename(), folder / "new");
        std::filesystem::rename(folder / "new", folder / "latest.h5");
        std::filesystem::remove(step(i - 50));
    };
    replace(0);
    std::jthread run([&](const std::stop_token& stop) {
        for (int i = 1; !stop.stop_requested(); ++i) {
            replace(i);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    for (int i = 0; i < 60; ++i) ASSERT_NO_THROW(read_all(folder / "latest.h5")) << i;
}

// ---- Files that crash HDF5 itself ----------------------------------------------------------------

TEST(Hdf5Probe, FindsProgram) {
    EXPECT_EQ(hdf5::probe_program().filename(), "glow_hdf5_probe");
}

TEST(Hdf5Probe, HowTheProgramEndsTellsWhatHdf5Does) {
    const TemporaryFolder folder;
    const auto fate = [&](const std::string& ending) {
        const std::filesystem::path program = folder / "program";
        write_bytes(program, "#!/bin/sh\n" + ending + "\n");
        std::filesystem::permissions(program, std::filesystem::perms::owner_all);
        return hdf5::probe(program, folder / "file");
    };
    for (const char* const good : {"exit 0", "exit 127", "kill -INT $$", "kill -TERM $$"})
        EXPECT_EQ(fate(good), "") << good;
    for (const char* const crash : {"kill -SEGV $$", "kill -ABRT $$", "kill -KILL $$", "exit 1", "exit 23"})
        EXPECT_EQ(fate(crash), "crashes on it") << crash;
    EXPECT_EQ(fate("kill -XCPU $$"), "does not end on it");
    EXPECT_EQ(fate("exit 3"), "asks for gigabytes to read its directory");
    EXPECT_EQ(fate("test \"$1\" = " + (folder / "file").string()), "");
    EXPECT_EQ(hdf5::probe(folder / "none", folder / "file"), "");
}

TEST(Hdf5Probe, WorksIfTheProgramIgnoresSigchld) {
    const TemporaryFolder folder;
    const std::filesystem::path program = folder / "program";
    const auto before = std::signal(SIGCHLD, SIG_IGN);
    const auto fate = [&](const std::string& ending) {
        write_bytes(program, "#!/bin/sh\n" + ending + "\n");
        std::filesystem::permissions(program, std::filesystem::perms::owner_all);
        return hdf5::probe(program, folder / "file");
    };
    EXPECT_EQ(fate("printf '\\000' >&$2"), "");
    EXPECT_EQ(fate("printf '\\003' >&$2"), "asks for gigabytes to read its directory");
    EXPECT_EQ(fate("kill -SEGV $$"), "crashes on it");
    small_file(folder);
    EXPECT_EQ(hdf5::probe(hdf5::probe_program(), folder / "small.h5"), "");
    std::signal(SIGCHLD, before);
}

// A file that another thread has locked, as HDF5 does, would stay locked until the probe ends.
TEST(Hdf5Probe, InheritsNoOpenFiles) {
#if !defined(__GLIBC_PREREQ)
    GTEST_SKIP() << "this C library cannot close them";
#elif !__GLIBC_PREREQ(2, 34)
    GTEST_SKIP() << "glibc before 2.34 cannot close them";
#endif
    const TemporaryFolder folder;
    const int opened = open("/dev/null", O_RDONLY), number = fcntl(opened, F_DUPFD, 100);
    const std::filesystem::path program = folder / "program";
    write_bytes(program, fmt::format("#!/bin/sh\ntest ! -e /proc/self/fd/{}\n", number));
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    const std::string fate = hdf5::probe(program, folder / "file");
    close(number);
    close(opened);
    EXPECT_EQ(fate, "");
}

// A string of variable length is kept in a heap: its length (4 bytes), the heap's address (8) and an index
// (4). HDF5 1.10.8 crashes if the index is out of range.
std::string with_string_index_out_of_range(std::string bytes) {
    const std::size_t heap = bytes.find("GCOL");
    std::string reference = {4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0};  // to "test", the first string
    std::memcpy(reference.data() + 4, &heap, 8);
    const std::size_t at = bytes.find(reference);
    if (at == std::string::npos) throw Error("no string in the file");
    bytes[at + 15] = '\x7f';
    return bytes;
}

TEST(Hdf5Probe, RejectsFileThatCrashesHdf5) {
    const TemporaryFolder folder;
    write_bytes(folder / "damaged.h5", with_string_index_out_of_range(small_file(folder)));
    if (hdf5::probe(hdf5::probe_program(), folder / "damaged.h5").empty())
        GTEST_SKIP() << "HDF5 " << Hdf5File::library_version() << " survives the damage";
    for (int i = 0; i < 2; ++i)
        expect_throw<InputError>([&] { Hdf5File::open(folder / "damaged.h5"); },
                                 {"damaged.h5", "it is damaged (HDF5 crashes on it)"});
}

TEST(Hdf5Probe, ProbesChangedFileAgain) {
    const TemporaryFolder folder;
    const std::string bytes = small_file(folder), damaged = with_string_index_out_of_range(bytes);
    write_bytes(folder / "damaged.h5", damaged);
    if (hdf5::probe(hdf5::probe_program(), folder / "damaged.h5").empty())
        GTEST_SKIP() << "HDF5 " << Hdf5File::library_version() << " survives the damage";
    for (int i = 0; i < 3; ++i) {  // within a tick of the file system's clock
        write_bytes(folder / "small.h5", bytes);
        if (i == 2)
            std::this_thread::sleep_for(std::chrono::milliseconds(50));  // so that the next check is kept
        EXPECT_NO_THROW(Hdf5File::open(folder / "small.h5"));
        write_bytes(folder / "small.h5", damaged);
        EXPECT_THROW(Hdf5File::open(folder / "small.h5"), InputError);
    }
}

// Random bytes in small files: HDF5 crashes on some of them.
TEST(Hdf5File, SurvivesRandomDamage) {
    const TemporaryFolder folder;
    const std::string bytes = small_file(folder);
    std::uint64_t state = 1;
    const auto random = [&state](std::uint64_t below) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (state >> 33) % below;
    };
    int refused = 0;
    for (int n = 0; n < 50; ++n) {
        std::string damaged = bytes;
        for (int k = 0; k < 5; ++k)
            damaged[random(damaged.size())] = static_cast<char>(random(3) == 0 ? 255 : random(256));
        write_bytes(folder / "damaged.h5", damaged);
        try {
            read_all(folder / "damaged.h5");
        } catch (const InputError&) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 5);  // make sure that the damage reaches the directory
}

TEST(Hdf5File, RejectsOtherTypesAndShapes) {
    const TemporaryFolder folder;
    {
        const RawFile raw(folder / "a.h5");
        const std::vector<char> zeros(1000);
        raw.array("int64", H5T_STD_I64LE, {4}, zeros.data());
        raw.array("uint32", H5T_STD_U32LE, {4}, zeros.data());
        raw.array("float32", H5T_IEEE_F32LE, {4, 2}, zeros.data());
        const hid_t string = H5Tcopy(H5T_C_S1);
        raw.array("string", string, {4}, zeros.data());
        H5Tclose(string);
        const hid_t null_space = H5Screate(H5S_NULL);
        H5Dclose(H5Dcreate2(raw, "null", H5T_IEEE_F32LE, null_space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        H5Sclose(null_space);
        H5Gclose(H5Gcreate2(raw, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    expect_throw<InputError>([&] { file.read<std::int32_t>("/int64", {4}); },
                             {"a.h5", "/int64", "expected int32", "found int64"});
    expect_throw<InputError>([&] { file.read<std::int32_t>("/uint32", {4}); },
                             {"expected int32", "found uint32"});
    expect_throw<InputError>(
        [&] {
            file.read<double>("/float32", {4, 2});
        },
        {"expected float64", "found float32"});
    expect_throw<InputError>([&] { file.read<float>("/string", {4}); },
                             {"expected float32", "found a string"});
    expect_throw<InputError>(
        [&] {
            file.read<float>("/float32", {2, 4});
        },
        {"expected shape [2, 4]", "found [4, 2]"});
    expect_throw<InputError>([&] { file.read<float>("/float32", {8}); },
                             {"expected shape [8]", "found [4, 2]"});
    expect_throw<InputError>([&] { file.read<float>("/none", {8}); }, {"/none", "missing"});
    expect_throw<InputError>([&] { file.read<float>("/group", {8}); }, {"/group", "expected an array"});
    expect_throw<InputError>([&] { file.read<float>("/null", {8}); }, {"/null"});
    float rows[8];
    expect_throw<InputError>([&] { file.read_rows<float>("/float32", 3, 2, rows); },
                             {"rows 3 to 4", "[4, 2]"});
    expect_throw<InputError>([&] { file.read_rows<float>("/float32", -1, 2, rows); }, {"[4, 2]"});
}

TEST(Hdf5File, RejectsMoreElementsThanFileHolds) {
    const TemporaryFolder folder;
    const hid_t create = chunked({1024, 1024});
    const hid_t gzip = chunked({1024, 1024}), sparse = chunked({10, 10}), sparse_gzip = chunked({10, 10}),
                giant = chunked({1u << 15, 1u << 15});
    H5Pset_deflate(gzip, 1);
    H5Pset_deflate(sparse_gzip, 1);
    {
        const RawFile raw(folder / "a.h5");
        const hsize_t large = hsize_t{1} << 31;
        raw.array("contiguous", H5T_IEEE_F32LE, {large, 4});
        raw.array("chunked", H5T_IEEE_F32LE, {large, 1024}, nullptr, create);
        raw.array("gzip", H5T_IEEE_F32LE, {large, 1024}, nullptr, gzip);
        raw.array("overflow", H5T_IEEE_F32LE, {large, large, large}, nullptr, chunked({1, 1, 1}));
        raw.array("giant_chunk", H5T_STD_U8LE, {1u << 15, 1u << 15}, nullptr, giant);
        // Some chunks exist, others do not; with compression the byte count alone does not show it.
        for (const auto& [name, list] : {std::pair{"sparse", sparse}, {"sparse_gzip", sparse_gzip}}) {
            raw.array(name, H5T_STD_U8LE, {10, 1000}, nullptr, list);
            const hid_t data = H5Dopen2(raw, name, H5P_DEFAULT);
            const hsize_t start[] = {0, 0}, count[] = {10, 10};
            const hid_t file_space = H5Dget_space(data), memory = H5Screate_simple(2, count, nullptr);
            H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, nullptr, count, nullptr);
            const std::vector<std::uint8_t> values(100, 1);
            H5Dwrite(data, H5T_NATIVE_UINT8, memory, file_space, H5P_DEFAULT, values.data());
            H5Sclose(memory);
            H5Sclose(file_space);
            H5Dclose(data);
        }
    }
    for (const hid_t list : {create, gzip, sparse, sparse_gzip, giant}) H5Pclose(list);
    const std::clock_t start = std::clock();
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    for (const char* name :
         {"/contiguous", "/chunked", "/gzip", "/overflow", "/giant_chunk", "/sparse", "/sparse_gzip"})
        expect_throw<InputError>([&] { file.describe(name); }, {"a.h5", name});
    expect_throw<InputError>([&] { file.read<float>("/contiguous", {index_t{1} << 31, 4}); }, {"claims"});
    EXPECT_LT(std::clock() - start, 5 * CLOCKS_PER_SEC);
}

TEST(Hdf5File, RejectsExternalData) {
    const TemporaryFolder folder;
    write_bytes(folder / "secret", std::string(100, 'x'));
    {
        const RawFile other(folder / "other.h5");
        const std::vector<std::uint8_t> values(100, 1);
        other.array("data", H5T_STD_U8LE, {100}, values.data());
    }
    {
        const RawFile raw(folder / "a.h5");
        const hid_t external = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_external(external, (folder / "secret").c_str(), 0, 100);
        raw.array("external", H5T_STD_U8LE, {100}, nullptr, external);
        H5Pclose(external);
        H5Lcreate_external((folder / "other.h5").c_str(), "/data", raw, "link", H5P_DEFAULT, H5P_DEFAULT);
        H5Lcreate_external((folder / "other.h5").c_str(), "/", raw, "group", H5P_DEFAULT, H5P_DEFAULT);
        H5Lcreate_soft("/group/data", raw, "soft", H5P_DEFAULT, H5P_DEFAULT);
        const hid_t virtual_list = H5Pcreate(H5P_DATASET_CREATE);
        const hsize_t size = 100;
        const hid_t space = H5Screate_simple(1, &size, nullptr);
        H5Pset_virtual(virtual_list, space, (folder / "other.h5").c_str(), "/data", space);
        raw.array("virtual", H5T_STD_U8LE, {100}, nullptr, virtual_list);
        H5Sclose(space);
        H5Pclose(virtual_list);
    }
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    const auto read = [&](const std::string& name) {
        return [&file, name] { file.read<std::uint8_t>(name, {100}); };
    };
    expect_throw<InputError>(read("/external"), {"/external", "another file"});
    expect_throw<InputError>(read("/link"), {"/link", "another file"});
    expect_throw<InputError>(read("/group/data"), {"/group", "another file"});
    expect_throw<InputError>(read("/soft"), {"/soft", "leaves the file"});
    expect_throw<InputError>(read("/virtual"), {"/virtual", "is a virtual data set"});
    expect_throw<InputError>([&] { file.arrays(); }, {"link"});
}

TEST(Hdf5File, FollowsInternalLinks) {
    const TemporaryFolder folder;
    {
        const RawFile raw(folder / "a.h5");
        const std::uint8_t value = 9;
        raw.array("data", H5T_STD_U8LE, {1}, &value);
        H5Lcreate_soft("/data", raw, "soft", H5P_DEFAULT, H5P_DEFAULT);
        H5Lcreate_soft("/nowhere", raw, "dangling", H5P_DEFAULT, H5P_DEFAULT);
        H5Lcreate_soft("/loop", raw, "loop", H5P_DEFAULT, H5P_DEFAULT);
    }
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    EXPECT_EQ(file.read<std::uint8_t>("/soft", {1}), std::vector<std::uint8_t>{9});
    EXPECT_FALSE(file.exists("/nowhere"));
    expect_throw<InputError>([&] { file.exists("/dangling"); },
                             {"/dangling", "link to an object that is missing"});
    expect_throw<InputError>([&] { file.read<std::uint8_t>("/loop", {1}); }, {"/loop"});
}

TEST(Hdf5File, RejectsGroupCycles) {
    const TemporaryFolder folder;
    {
        const RawFile raw(folder / "a.h5");
        H5Gclose(H5Gcreate2(raw, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        for (const char* name : {"/g/one", "/g/two"})
            H5Lcreate_hard(raw, "/g", raw, name, H5P_DEFAULT, H5P_DEFAULT);
    }
    const Hdf5File file = Hdf5File::open(folder / "a.h5");
    expect_throw<InputError>([&] { file.arrays(); }, {"a.h5", "cycle"});
}

TEST(Hdf5File, ReportsFileThatCannotBeCreated) {
    const TemporaryFolder folder;
    for (int again = 0; again < 2; ++again)  // the library must not stay locked
        expect_throw<Error>([&] { Hdf5File::create(folder / "none" / "a.h5"); },
                            {"cannot create", "a.h5", "No such file or directory"});
    Hdf5File::create(folder / "a.h5").close();
}

// A read that fails says nothing about the file. HDF5 reports some objects that it cannot read as absent or empty:
// without "/ema" a model would use other weights, without "/valid/images" a run would have no validation.
TEST(Hdf5File, FailedReadIsNoAbsenceOrDamage) {
    const TemporaryFolder folder;
    const std::vector<float> weights(500, 0.5f);
    const std::vector<std::uint8_t> rows(3000, 7);
    const std::vector<std::string> names = {"one", "two"};
    {
        Hdf5File file = Hdf5File::create(folder / "a.h5");
        file.write<float>("/params/level0/weight", {500}, weights.data());
        file.write<float>("/ema/level0/weight", {500}, weights.data());
        file.create_growing<std::uint8_t>("/valid/images", {30});
        file.append<std::uint8_t>("/valid/images", 100, rows.data());
        file.write_strings("/names", names);
        file.set_string("/", "config", std::string(3000, 'c'));
        file.close();
    }
    int failed = 0;
    for (bool complete = false; !complete; ++failed) {
        ASSERT_LT(failed, 500);
        g_reads_until_failure = failed + 1;
        try {
            const Hdf5File file = Hdf5File::open(folder / "a.h5");
            EXPECT_TRUE(file.has_attribute("/", "config"));
            EXPECT_EQ(file.string_attribute("/", "config"), std::string(3000, 'c'));
            EXPECT_TRUE(file.exists("/ema"));
            EXPECT_FALSE(file.exists("/none"));
            EXPECT_TRUE(file.exists("/valid/images"));
            EXPECT_EQ(file.arrays().size(), 4u);
            EXPECT_EQ(file.arrays("/params").size(), 1u);
            EXPECT_EQ(file.describe("/valid/images").shape, (std::vector<index_t>{100, 30}));
            EXPECT_EQ(file.read<std::uint8_t>("/valid/images", {100, 30}), rows);
            EXPECT_EQ(file.read<float>("/params/level0/weight", {500}), weights);
            EXPECT_EQ(file.read_strings("/names"), names);
            complete = g_reads_until_failure > 0;
            EXPECT_TRUE(complete) << "read " << failed << " failed unnoticed";
        } catch (const InputError& error) {
            ADD_FAILURE() << "read " << failed << ": " << error.what();
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find("a.h5"), std::string::npos) << error.what();
            EXPECT_NE(std::string(error.what()).find("Input/output error"), std::string::npos)
                << error.what();
        }
        g_reads_until_failure = 0;
    }
    EXPECT_GT(failed, 20);
}

TEST(Hdf5File, FullDiskLeavesNoFile) {
    const TemporaryFolder folder;
    const std::vector<double> values(100000, 1.0);
    for (int round = 0; round < 2; ++round) {
        const FullDisk full(100000);
        expect_throw<Error>(
            [&] {
                write_atomically(folder / "a.h5", [&](const std::filesystem::path& temporary) {
                    Hdf5File file = Hdf5File::create(temporary, folder / "a.h5");
                    file.write<double>("/values", {100000}, values.data());
                    file.close();
                });
            },
            {"cannot write", "a.h5"});
        EXPECT_TRUE(folder.names().empty());
    }
    // Small writes stay in HDF5's buffers until the file is closed.
    const FullDisk full(2000);
    expect_throw<Error>(
        [&] {
            write_atomically(folder / "a.h5", [&](const std::filesystem::path& temporary) {
                Hdf5File file = Hdf5File::create(temporary, folder / "a.h5");
                for (int n = 0; n < 20; ++n) file.set_number("/", fmt::format("n{}", n), n);
                const float value = 1;
                file.write<float>("/a/b/c/d", {1}, &value);
                file.close();
            });
        },
        {"cannot write", "a.h5"});
    EXPECT_TRUE(folder.names().empty());
}

// A disk may be full for a moment only. HDF5 writes small arrays when they are closed; if that failed
// unnoticed, a file that looks complete would hold zeros.
TEST(Hdf5File, ShortlyFullDiskLosesNothingSilently) {
    const TemporaryFolder folder;
    const std::vector<float> weights(500, 0.5f);
    const std::vector<std::uint8_t> rows(3000, 7);
    const std::vector<std::string> names(100, "a name of some length");
    int failed = 0, complete = 0;
    for (rlim_t bytes = 0; bytes < 120000; bytes += 1000) {
        const std::filesystem::path path = folder / "a.h5";
        try {
            Hdf5File file = Hdf5File::create(path);
            {
                const FullDisk full(bytes);
                for (int n = 0; n < 5; ++n)
                    file.write<float>(fmt::format("/params/w{}", n), {500}, weights.data());
                file.create_growing<std::uint8_t>("/x", {30});
                file.append<std::uint8_t>("/x", 100, rows.data());
                file.write_strings("/names", names);
                file.set_string("/", "config", std::string(3000, 'c'));
            }
            file.close();
            ++complete;
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find("a.h5"), std::string::npos) << error.what();
            ++failed;
            continue;
        }
        const Hdf5File file = Hdf5File::open(path);
        for (int n = 0; n < 5; ++n)
            EXPECT_EQ(file.read<float>(fmt::format("/params/w{}", n), {500}), weights) << bytes;
        EXPECT_EQ(file.read<std::uint8_t>("/x", {100, 30}), rows) << bytes;
        EXPECT_EQ(file.read_strings("/names"), names) << bytes;
        EXPECT_EQ(file.string_attribute("/", "config"), std::string(3000, 'c')) << bytes;
    }
    EXPECT_GT(failed, 0);
    EXPECT_GT(complete, 0);
}

}  // namespace
}  // namespace glow
