#include "inference/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "data/formats/input_path.h"
#include "data/formats/seek.h"
#include "inference/model_file.h"
#include "kernels/error.h"
#include "layers/glow.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

class SafetensorsFile {
  public:
    explicit SafetensorsFile(const fs::path& path) : path_(path) {
        if (const std::string problem = file_problem(path); !problem.empty())
            throw InputError(fmt::format("{}: cannot be read: {}", path.string(), problem));
        in_.open(path, std::ios::binary);
        if (!in_) throw InputError(fmt::format("{}: {}", path.string(), std::strerror(errno)));
        std::error_code failed;
        const std::uint64_t size = fs::file_size(path, failed);
        std::uint64_t length = 0;  // little-endian, as all processors that Glow runs on
        read(&length, sizeof length);
        if (failed || size < 8 || length > size - 8 || length > std::uint64_t{1} << 30) refuse("no header");
        std::string text(length, '\0');
        read(text.data(), text.size());
        begin_ = 8 + length;
        size_ = size - begin_;
        header_ = parse_header(text);
    }

    [[noreturn]] void refuse(const std::string& what) const {
        throw InputError(
            fmt::format("{}: not usable as a safetensors file of a model: {}", path_.string(), what));
    }
    ModelConfig config() const {
        const auto metadata = header_.find("__metadata__");
        if (metadata == header_.end() || !metadata->is_object() || !metadata->contains("config") ||
            !(*metadata)["config"].is_string())
            refuse("it has no configuration of a model");
        try {
            return model_from_json(parse_config((*metadata)["config"].get<std::string>()));
        } catch (const InputError& error) {
            refuse(error.what());
        }
    }
    std::size_t tensors() const { return header_.size() - header_.contains("__metadata__"); }
    // Checks that the file has the tensor, before memory for it is allocated.
    void place(const Tensor& tensor) {
        const auto found = header_.find(tensor.name);
        if (found == header_.end()) refuse(fmt::format("{} is missing", tensor.name));
        const nlohmann::ordered_json expected = {{"dtype", tensor.integer ? "I32" : "F32"},
                                                 {"shape", tensor.shape}};
        for (const char* const key : {"dtype", "shape"})
            if (!found->is_object() || !found->contains(key) || (*found)[key] != expected[key])
                refuse(fmt::format("{} is {}, expected {}", tensor.name, found->dump(), expected.dump()));
        const auto bytes = static_cast<std::uint64_t>(tensor.count) * sizeof(float);
        const auto place = found->find("data_offsets");
        const auto refuse_place = [&] {
            refuse(fmt::format("the place of {} is not inside the file", tensor.name));
        };
        if (place == found->end() || !place->is_array() || place->size() != 2 ||
            !(*place)[0].is_number_unsigned() || !(*place)[1].is_number_unsigned())
            refuse_place();
        const auto begin = (*place)[0].get<std::uint64_t>(), end = (*place)[1].get<std::uint64_t>();
        if (end > size_ || begin > end || end - begin != bytes) refuse_place();
        places_.emplace_back(begin, end);
    }
    // Reads a tensor that has a place.
    void read_tensor(const Tensor& tensor, float* values) {
        const auto bytes = static_cast<std::uint64_t>(tensor.count) * sizeof(float);
        seek(in_, static_cast<std::streamoff>(begin_ +
                                              header_[tensor.name]["data_offsets"][0].get<std::uint64_t>()));
        if (!tensor.integer) return read(values, bytes);
        std::vector<std::int32_t> whole(static_cast<std::size_t>(tensor.count));
        read(whole.data(), bytes);
        std::copy(whole.begin(), whole.end(), values);
    }
    // The format has neither overlaps nor gaps: wrong offsets would give wrong weights.
    void require_whole() {
        std::sort(places_.begin(), places_.end());
        std::uint64_t reached = 0;
        for (const auto& [begin, end] : places_) {
            if (begin != reached) refuse("its tensors overlap, or leave a gap between them");
            reached = end;
        }
        if (reached != size_) refuse(fmt::format("{} bytes follow its tensors", size_ - reached));
    }

  private:
    void read(void* to, std::uint64_t bytes) {
        in_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
        if (const std::string problem = read_problem(in_); !problem.empty())
            throw Error(fmt::format("{}: cannot be read: {}", path_.string(), problem));
        if (!in_) refuse("it is cut short");
    }
    nlohmann::ordered_json parse_header(const std::string& text) const {
        try {
            nlohmann::ordered_json header = parse_config(text);  // limits the depth
            if (header.is_object()) return header;
        } catch (const InputError&) {
        }
        refuse("its header is not JSON");
    }

    fs::path path_;
    std::ifstream in_;
    std::uint64_t begin_ = 0, size_ = 0;                           // bytes before the tensors, and of them
    std::vector<std::pair<std::uint64_t, std::uint64_t>> places_;  // of the tensors that were read
    nlohmann::ordered_json header_;
};

}  // namespace

void checkpoint_from_safetensors(const fs::path& safetensors, const fs::path& checkpoint) {
    SafetensorsFile file(safetensors);
    const ModelConfig config = file.config();
    // Building a model of a million steps takes long; check first that the file contains them.
    if (static_cast<index_t>(file.tensors()) < config.levels * config.depth)
        file.refuse(fmt::format("{} tensors are too few for {} levels of {} steps", file.tensors(),
                                config.levels, config.depth));
    const Glow glow(config, {});
    const Parameters& parameters = glow.parameters();
    const std::size_t count = parameters.tensors().size() + parameters.fixed_tensors().size();
    if (file.tensors() > count) file.refuse(fmt::format("{} tensors, expected {}", file.tensors(), count));
    // Before memory is allocated: a small file may claim a model of gigabytes.
    for (const Tensor& tensor : parameters.tensors()) file.place(tensor);
    for (const Tensor& tensor : parameters.fixed_tensors()) file.place(tensor);
    file.require_whole();
    std::vector<float> values(static_cast<std::size_t>(parameters.size())),
        fixed(static_cast<std::size_t>(parameters.fixed_size()));
    for (const Tensor& tensor : parameters.tensors()) file.read_tensor(tensor, values.data() + tensor.offset);
    for (const Tensor& tensor : parameters.fixed_tensors())
        file.read_tensor(tensor, fixed.data() + tensor.offset);
    nlohmann::ordered_json written = to_json(config);
    written["training"] = nlohmann::ordered_json::object();
    save_checkpoint(checkpoint, written, {}, nullptr, parameters, {},
                    {.params = values.data(), .fixed = fixed.data()});
    try {
        load_checkpoint(checkpoint, parameters, {}, {});  // checks the values
    } catch (const InputError& error) {
        std::string text = error.what();
        if (const std::size_t at = text.find(checkpoint.string()); at != std::string::npos)
            text.replace(at, checkpoint.string().size(), safetensors.string());
        throw InputError(text);
    }
}

void ScratchFolder::make() {
    std::error_code failed;
    const fs::path folder = fs::temp_directory_path(failed);
    const char* const given = std::getenv("TMPDIR");
    if (failed)
        throw Error(fmt::format("no folder for temporary files: {}: {}; set TMPDIR to another one",
                                given != nullptr ? given : "/tmp", failed.message()));
    std::string name = (folder / "glow-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
        throw Error(fmt::format("cannot make a temporary folder in {}: {}; set TMPDIR to another one",
                                folder.string(), std::strerror(errno)));
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
}

ModelFile::ModelFile(const fs::path& name) : checkpoint_(find_checkpoint(name)) {
    if (checkpoint_.extension() != ".safetensors") return;
    folder_.make();
    const fs::path safetensors = checkpoint_;
    checkpoint_ = folder_.path() / "model.h5";
    checkpoint_from_safetensors(safetensors, checkpoint_);
}

}  // namespace glow
