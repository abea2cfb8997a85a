// Arrays of the caller: NumPy's, in host memory, or a GPU's, exchanged through DLPack.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "inference/image_arrays.h"

namespace glow {

namespace py = pybind11;

// A compact, row-major array in the memory of GPU 0.
class DeviceArray {
  public:
    // Takes the array out of a capsule of __dlpack__(). The producer's work on it must be done. Throws
    // InputError for arrays of another device, layout or type.
    explicit DeviceArray(const py::capsule& capsule);
    // Allocates float32 values.
    explicit DeviceArray(std::vector<py::ssize_t> shape);

    void* data() const { return data_.get(); }
    const std::vector<py::ssize_t>& shape() const { return shape_; }
    // As NumPy writes it: "u1", "f4" or "f8".
    const std::string& type() const { return type_; }
    // A new capsule for a consumer. The caller has waited for the values.
    py::capsule to_dlpack() const;

  private:
    std::shared_ptr<void> data_;
    std::vector<py::ssize_t> shape_;
    std::string type_;
};

std::vector<py::ssize_t> shape_of(const py::array& array);

// Images, and the model for images of their size.
struct GivenImages {
    GivenImages() = default;
    GivenImages(GivenImages&&) = default;

    ModelConfig model;
    PixelArray array;
    std::vector<std::int32_t> labels;  // of `array`
};
// Views of x: a C-contiguous NumPy array or a DeviceArray, of uint8, float32 or float64 and shape [N, H, W,
// C] with the model's channels. Throws InputError for anything else. labels: int32 [N], or None.
GivenImages images_of(const ModelConfig& trained, const py::object& x, const py::object& labels);
// A copy, which other threads cannot change after it was checked; empty for None. Throws InputError unless
// they are classes of the model, [N].
std::vector<std::int32_t> labels_of(const ModelConfig& model, index_t N, const py::object& labels);

}  // namespace glow
