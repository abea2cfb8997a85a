#include "runtime/device.h"

#include <cstdlib>
#include <cstring>

#include "kernels/error.h"
#include "runtime/cuda.h"

namespace glow {

Device parse_device(const std::string& text) {
    if (text == "cpu") return Device::cpu;
    if (text == "cuda") return Device::cuda;
    if (text == "auto") return cuda_problem().empty() ? Device::cuda : Device::cpu;
    throw InputError("--device " + text + ": expected auto, cpu or cuda");
}

std::string to_string(Device device) {
    return device == Device::cuda ? "cuda" : device == Device::cpu ? "cpu" : "count_only";
}

std::string cuda_problem() {
    return cuda::problem();
}

void require_device(Device device) {
    if (device != Device::cuda) return;
    const std::string reason = cuda_problem();
    if (!reason.empty()) throw InputError("--device cuda: " + reason + "; or use --device cpu");
}

void synchronize(const Exec& exec) {
    if (exec.device == Device::cuda) cuda::synchronize(exec);
}

void upload_bytes(const Exec& exec, std::size_t bytes, const void* host, void* device) {
    if (exec.device == Device::count_only || bytes == 0 || host == device) return;
    if (exec.device == Device::cuda)
        cuda::copy_to_device(exec, bytes, host, device);
    else
        std::memcpy(device, host, bytes);
}

void start_upload_bytes(const Exec& exec, std::size_t bytes, const void* host, void* device) {
    if (exec.device == Device::count_only || bytes == 0 || host == device) return;
    if (exec.device == Device::cuda)
        cuda::start_copy_to_device(exec, bytes, host, device);
    else
        std::memcpy(device, host, bytes);
}

void copy_bytes(const Exec& exec, std::size_t bytes, const void* from, void* to) {
    if (exec.observer != nullptr && bytes > 0)
        exec.observer->launch("copy", 2.0 * static_cast<double>(bytes));
    if (exec.device == Device::count_only || bytes == 0 || from == to) return;
    if (exec.device == Device::cuda)
        cuda::copy_within_device(exec, bytes, from, to);
    else
        std::memcpy(to, from, bytes);
}

void download_bytes(const Exec& exec, std::size_t bytes, const void* device, void* host) {
    if (exec.device == Device::count_only || bytes == 0 || host == device) return;
    if (exec.device == Device::cuda)
        cuda::copy_to_host(exec, bytes, device, host);
    else
        std::memcpy(host, device, bytes);
}

std::shared_ptr<void> device_memory(std::size_t bytes) {
    return {bytes > 0 ? cuda::allocate(bytes) : nullptr, [](void* memory) { cuda::release(memory); }};
}

std::shared_ptr<void> host_memory(Device device, std::size_t bytes) {
    if (device == Device::cuda && bytes > 0)
        return {cuda::allocate_pinned(bytes), [](void* memory) { cuda::release_pinned(memory); }};
    void* const memory = std::malloc(bytes > 0 ? bytes : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return {memory, std::free};
}

std::size_t device_bytes_in_use() {
    return cuda_problem().empty() ? cuda::bytes_in_use() : 0;
}

std::size_t device_bytes() {
    return cuda_problem().empty() ? cuda::bytes() : 0;
}

}  // namespace glow
