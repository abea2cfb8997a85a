#include "python/arrays.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/error.h"
#include "python/dlpack.h"
#include "runtime/device.h"

namespace glow {
namespace {

constexpr const char* kUnused = "dltensor";
constexpr const char* kUsed = "used_dltensor";

std::string type_name(const DLDataType& type) {
    if (type.lanes != 1 || (type.bits != 8 && type.bits != 32 && type.bits != 64)) return "another type";
    const char kind = type.code == kDLUInt ? 'u' : type.code == kDLFloat ? 'f' : 'i';
    return fmt::format("{}{}", kind, type.bits / 8);
}

bool is_compact(const DLTensor& tensor) {
    if (tensor.strides == nullptr) return true;
    std::int64_t expected = 1;
    for (int i = tensor.ndim; i-- > 0;) {
        if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
        expected *= tensor.shape[i];
    }
    return true;
}

// Owned by the consumer of DeviceArray::to_dlpack().
struct Exported {
    DLManagedTensor managed{};
    std::shared_ptr<void> data;
    std::vector<std::int64_t> shape;
};

PixelArray view(const std::string& type, index_t N, const void* data, bool on_device) {
    PixelArray array{N, static_cast<const std::uint8_t*>(data), nullptr, on_device};
    if (type == "f4")
        array.values = static_cast<const float*>(data);
    else if (type == "f8")
        array.values = static_cast<const double*>(data);
    else if (type != "u1")
        throw InputError(fmt::format("images must be uint8, float32 or float64, got {}", type));
    return array;
}

// The model for images of this shape.
ModelConfig model_for(const ModelConfig& trained, const std::vector<py::ssize_t>& shape) {
    if (shape.size() != 4 || shape[3] != trained.channels)
        throw InputError(fmt::format(
            "images must be [N, height, width, {}], such as [N, {}, {}, {}], got [{}]", trained.channels,
            trained.image_height, trained.image_width, trained.channels, fmt::join(shape, ", ")));
    return with_image_size(trained, {shape[1], shape[2]});
}

// "i4". Types may be equal without being the same object, such as that of an unpickled array.
std::string type_name(const py::dtype& type) {
    return fmt::format("{}{}", type.kind(), type.itemsize());
}

bool is_native(const py::dtype& type) {
    return type.attr("isnative").cast<bool>();
}

}  // namespace

std::vector<py::ssize_t> shape_of(const py::array& array) {
    return {array.shape(), array.shape() + array.ndim()};
}

DeviceArray::DeviceArray(const py::capsule& capsule) {
    if (capsule.name() == nullptr || std::string(capsule.name()) != kUnused)
        throw InputError("expected an unused DLPack capsule");
    auto* const managed = capsule.get_pointer<DLManagedTensor>();
    const DLTensor& tensor = managed->dl_tensor;
    if (tensor.device.device_type != kDLCUDA || tensor.device.device_id != 0)
        throw InputError(fmt::format("the array is on device {} of type {}, but the model is on GPU 0",
                                     tensor.device.device_id, static_cast<int>(tensor.device.device_type)));
    if (!is_compact(tensor)) throw InputError("the array must be contiguous");
    type_ = type_name(tensor.dtype);
    shape_.assign(tensor.shape, tensor.shape + tensor.ndim);
    if (PyCapsule_SetName(capsule.ptr(), kUsed) != 0) throw py::error_already_set();
    data_ = {static_cast<char*>(tensor.data) + tensor.byte_offset, [managed](void*) {
                 const py::gil_scoped_acquire acquire;
                 if (managed->deleter != nullptr) managed->deleter(managed);
             }};
}

DeviceArray::DeviceArray(std::vector<py::ssize_t> shape) : shape_(std::move(shape)), type_("f4") {
    std::size_t bytes = sizeof(float);
    for (const py::ssize_t size : shape_) bytes *= static_cast<std::size_t>(size);
    data_ = device_memory(bytes);
}

py::capsule DeviceArray::to_dlpack() const {
    auto exported = std::make_unique<Exported>();
    exported->data = data_;
    exported->shape.assign(shape_.begin(), shape_.end());
    const auto bits = static_cast<std::uint8_t>(8 * (type_[1] - '0'));
    exported->managed = {{data_.get(),
                          {kDLCUDA, 0},
                          static_cast<std::int32_t>(shape_.size()),
                          {type_[0] == 'u' ? kDLUInt : kDLFloat, bits, 1},
                          exported->shape.data(),
                          nullptr,
                          0},
                         exported.get(),
                         [](DLManagedTensor* self) { delete static_cast<Exported*>(self->manager_ctx); }};
    py::capsule capsule(&exported->managed, kUnused, [](PyObject* unused) {
        if (!PyCapsule_IsValid(unused, kUnused)) return;  // a consumer owns it
        auto* const managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(unused, kUnused));
        managed->deleter(managed);
    });
    exported.release();
    return capsule;
}

std::vector<std::int32_t> labels_of(const ModelConfig& model, index_t N, const py::object& labels) {
    if (labels.is_none()) {
        check_labels(model, N, {});
        return {};
    }
    if (!py::isinstance<py::array>(labels)) throw InputError("labels must be an array");
    const auto array = py::reinterpret_borrow<py::array>(labels);
    if (array.ndim() != 1 || type_name(array.dtype()) != "i4" || !is_native(array.dtype()) ||
        (array.flags() & py::array::c_style) == 0)
        throw InputError("labels must be a contiguous int32 array [N]");
    const auto* const given = static_cast<const std::int32_t*>(array.data());
    std::vector<std::int32_t> values(given, given + array.shape(0));
    check_labels(model, N, values);
    return values;
}

GivenImages images_of(const ModelConfig& trained, const py::object& x, const py::object& labels) {
    GivenImages given;
    PixelArray& array = given.array;
    if (py::isinstance<DeviceArray>(x)) {
        const auto& device = x.cast<const DeviceArray&>();
        given.model = model_for(trained, device.shape());
        array = view(device.type(), device.shape()[0], device.data(), true);
    } else {
        if (!py::isinstance<py::array>(x)) throw InputError("images must be an array");
        const auto host = py::reinterpret_borrow<py::array>(x);
        given.model = model_for(trained, shape_of(host));
        if ((host.flags() & py::array::c_style) == 0) throw InputError("images must be contiguous");
        const py::dtype type = host.dtype();
        if (!is_native(type)) throw InputError("images must be in the byte order of this machine");
        array = view(type_name(type), host.shape(0), host.data(), false);
    }
    given.labels = labels_of(trained, array.N, labels);
    if (!given.labels.empty()) array.labels = given.labels.data();
    return given;
}

}  // namespace glow
