#include "data/cifar10.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "data/formats/input_path.h"
#include "data/formats/seek.h"
#include "kernels/error.h"

namespace glow {

Cifar10File check_cifar10_file(const std::filesystem::path& path) {
    if (const std::string problem = file_problem(path); !problem.empty())
        throw InputError(fmt::format("cannot read {}: {}", path.string(), problem));
    std::error_code code;
    const auto bytes = static_cast<index_t>(std::filesystem::file_size(path, code));
    if (code) throw InputError(fmt::format("cannot read {}: {}", path.string(), code.message()));
    if (bytes == 0 || bytes % kCifar10RecordBytes != 0)
        throw InputError(
            fmt::format("{}: expected a whole number of CIFAR-10 records of {} bytes, found {} bytes",
                        path.string(), kCifar10RecordBytes, bytes));
    return {path, bytes / kCifar10RecordBytes};
}

namespace {

// The files PREFIX*.bin of a folder, sorted by name.
std::vector<Cifar10File> files_named(const std::filesystem::path& folder, const std::string& prefix) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(prefix) && entry.path().extension() == ".bin") names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    std::vector<Cifar10File> files;
    for (const std::string& name : names)
        files.push_back(check_cifar10_file(find_input_file(folder, {name})));
    return files;
}

Cifar10Folder files_of(const std::filesystem::path& folder) {
    Cifar10Folder found;
    for (int batch = 1; batch <= 5; ++batch) {
        const auto path = find_input_file(folder, {fmt::format("data_batch_{}.bin", batch)});
        if (!path.empty()) found.train.push_back(check_cifar10_file(path));
    }
    const auto test = find_input_file(folder, {"test_batch.bin"});
    if (!test.empty()) found.test.push_back(check_cifar10_file(test));
    if (found.train.empty() && found.test.empty()) {
        found.train = files_named(folder, "train");
        found.test = files_named(folder, "test");
    }
    return found;
}

index_t records_of(const std::vector<Cifar10File>& files) {
    index_t records = 0;
    for (const Cifar10File& file : files) records += file.records;
    return records;
}

}  // namespace

index_t Cifar10Folder::train_images() const {
    return records_of(train);
}
index_t Cifar10Folder::test_images() const {
    return records_of(test);
}

Cifar10Folder find_cifar10(const std::filesystem::path& folder) try {
    if (const std::string problem = folder_problem(folder); !problem.empty())
        throw InputError(
            fmt::format("expected a folder of CIFAR-10's binary files, found no folder at {}: {}",
                        folder.string(), problem));
    Cifar10Folder found = files_of(folder);
    const auto inner = folder / "cifar-10-batches-bin";
    if (found.train.empty() && found.test.empty() &&
        std::filesystem::exists(std::filesystem::symlink_status(inner))) {
        if (const std::string problem = folder_problem(inner); !problem.empty())
            throw InputError(fmt::format("cannot open folder {}: {}", inner.string(), problem));
        found = files_of(inner);
    }
    if (found.train.empty())
        throw InputError(
            fmt::format("{}: expected CIFAR-10's binary files data_batch_1.bin .. data_batch_5.bin and "
                        "test_batch.bin, or train*.bin and test*.bin, found no training file",
                        folder.string()));
    std::vector<std::filesystem::path> paths;
    for (const auto* files : {&found.train, &found.test})
        for (const Cifar10File& file : *files) paths.push_back(file.path);
    refuse_same_file(paths);
    return found;
} catch (const std::filesystem::filesystem_error& error) {
    throw InputError(fmt::format("cannot open folder {}: {}", folder.string(), error.code().message()));
}

void read_cifar10(const Cifar10File& file, index_t first, index_t count, std::uint8_t* images,
                  std::int32_t* labels) {
    std::vector<std::uint8_t> records(static_cast<std::size_t>(count * kCifar10RecordBytes));
    std::ifstream stream(file.path, std::ios::binary);
    if (!stream) throw Error(fmt::format("cannot open {}: {}", file.path.string(), std::strerror(errno)));
    seek(stream, first * kCifar10RecordBytes);
    stream.read(reinterpret_cast<char*>(records.data()), static_cast<std::streamsize>(records.size()));
    if (!stream) {
        const std::string problem = read_problem(stream),
                          message = fmt::format("cannot read records {} to {} of {}", first,
                                                first + count - 1, file.path.string());
        if (!problem.empty()) throw Error(fmt::format("{}: {}", message, problem));
        throw InputError(message);
    }
    for (index_t n = 0; n < count; ++n) {
        const std::uint8_t* record = records.data() + n * kCifar10RecordBytes;
        if (record[0] >= kCifar10Classes)
            throw InputError(fmt::format("{}: expected a label in 0..9, found {} in record {}",
                                         file.path.string(), record[0], first + n));
        labels[n] = record[0];
        std::uint8_t* image = images + n * kCifar10ImageBytes;
        for (index_t channel = 0; channel < kCifar10Channels; ++channel) {
            const std::uint8_t* plane = record + 1 + channel * kCifar10Pixels;
            for (index_t p = 0; p < kCifar10Pixels; ++p) image[p * kCifar10Channels + channel] = plane[p];
        }
    }
}

Cifar10Source::Cifar10Source(Cifar10Folder folder) : folder_(std::move(folder)) {
    info_ = {"cifar10",       kCifar10Side,           kCifar10Side,         kCifar10Channels,
             kCifar10Classes, folder_.train_images(), folder_.test_images()};
}

void Cifar10Source::read(SourceSplit split, index_t first, index_t count, std::uint8_t* images,
                         std::int32_t* labels, std::uint8_t*) {
    for (const Cifar10File& file : split == SourceSplit::train ? folder_.train : folder_.test) {
        const index_t here = std::clamp<index_t>(file.records - first, 0, count);
        if (here > 0) read_cifar10(file, first, here, images, labels);
        images += here * kCifar10ImageBytes;
        labels += here;
        first = std::max<index_t>(0, first - file.records);
        count -= here;
    }
}

}  // namespace glow
