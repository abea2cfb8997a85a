// A checkpoint in memory that tests can modify and write again.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/formats/hdf5_file.h"
#include "kernels/error.h"

namespace glow {

struct CheckpointEdit {
    struct Values {
        std::vector<index_t> shape;
        std::vector<float> values;
        ElementType type = ElementType::float32;  // type to write
    };

    explicit CheckpointEdit(const std::filesystem::path& path) {
        const Hdf5File file = Hdf5File::open(path);
        format = file.string_attribute("/", "format");
        config = file.string_attribute("/", "config");
        version = file.integer_attribute("/", "version");
        step = file.integer_attribute("/", "step");
        images_seen = file.integer_attribute("/", "images_seen");
        epoch = file.number_attribute("/", "epoch");
        for (const std::string& name : file.arrays()) {
            const ArrayInfo info = file.describe(name);
            Values& tensor = tensors[name];
            tensor.shape = info.shape;
            tensor.type = info.type;
            if (info.type == ElementType::int32) {
                const auto whole = file.read<std::int32_t>(name, info.shape);
                tensor.values.assign(whole.begin(), whole.end());
            } else {
                tensor.values = file.read<float>(name, info.shape);
            }
        }
    }

    Values& tensor(const std::string& name) {
        const auto found = tensors.find(name);
        if (found == tensors.end()) throw Error("no tensor " + name);
        return found->second;
    }

    void write(const std::filesystem::path& path) const {
        Hdf5File file = Hdf5File::create(path);
        if (!format.empty()) file.set_string("/", "format", format);
        file.set_string("/", "config", config);
        file.set_integer("/", "version", version);
        file.set_integer("/", "step", step);
        file.set_integer("/", "images_seen", images_seen);
        file.set_number("/", "epoch", epoch);
        for (const auto& [name, tensor] : tensors) {
            if (tensor.type == ElementType::float32)
                file.write<float>(name, tensor.shape, tensor.values.data());
            else if (tensor.type == ElementType::float64)
                file.write<double>(name, tensor.shape,
                                   std::vector<double>(tensor.values.begin(), tensor.values.end()).data());
            else
                file.write<std::int32_t>(
                    name, tensor.shape,
                    std::vector<std::int32_t>(tensor.values.begin(), tensor.values.end()).data());
        }
        file.close();
    }

    std::string format, config;
    std::int64_t version = 0, step = 0, images_seen = 0;
    double epoch = 0;
    std::map<std::string, Values> tensors;  // by full name, "/params/..."
};

}  // namespace glow
