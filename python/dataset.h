// A data set in arrays of the caller.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace glow {

namespace py = pybind11;

// Created and destroyed with the GIL; the other functions need no GIL.
class ArrayDataset {
  public:
    // splits: {name: (images uint8 [N, H, W, C], labels int32 [N] or None)}. Throws InputError unless all are
    // images of one shape, all with labels or none.
    ArrayDataset(const std::string& name, const py::dict& splits);

    // Writes the file atomically.
    void write(const std::filesystem::path& file) const;
    // How the contents of an existing file differ: "has other images", or "has ..., not ..." with numbers and sizes.
    // Empty if they do not. Throws InputError if it is not a data set.
    std::string difference(const std::filesystem::path& file) const;

  private:
    struct Split {
        std::string name;
        py::array_t<std::uint8_t, py::array::c_style> images;
        std::optional<py::array_t<std::int32_t, py::array::c_style>> labels;
        // Views of the arrays.
        index_t N = 0;
        const std::uint8_t* pixels = nullptr;
        const std::int32_t* classes = nullptr;
    };

    DatasetInfo info_;
    std::vector<Split> splits_;
};

}  // namespace glow
