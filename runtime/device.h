// Which devices this build and this machine have, and the way of data to and from their memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

// "auto" (the GPU where there is one that works, else the CPU), "cpu" or "cuda". Throws InputError for other
// names.
Device parse_device(const std::string& text);
std::string to_string(Device device);

// Why Device::cuda cannot be used: no CUDA in this build, no driver, no GPU. Empty where it can.
std::string cuda_problem();
// Throws InputError, with the reason and what to do, where the device cannot be used.
void require_device(Device device);
// The CPU, then CUDA where it can be used.
std::vector<Device> present_devices();

// Waits for all that was started on the stream. Throws Error where any of it failed.
void synchronize(const Exec& exec);

// `count` elements from host memory to the place's, or back, after what runs there already. At return the
// copy is done, and so is all that came before it. On the CPU a plain copy; nothing where from == to. On
// Device::count_only nothing.
void upload_bytes(const Exec& exec, std::size_t bytes, const void* host, void* device);
void download_bytes(const Exec& exec, std::size_t bytes, const void* device, void* host);
// The same without waiting: `host` must stay as it is until the stream has got so far
// (synchronize()).
void start_upload_bytes(const Exec& exec, std::size_t bytes, const void* host, void* device);
// From and to device memory, in turn with what else it is given.
void copy_bytes(const Exec& exec, std::size_t bytes, const void* from, void* to);
template <class T>
void upload(const Exec& exec, index_t count, const T* host, T* device) {
    upload_bytes(exec, static_cast<std::size_t>(count) * sizeof(T), host, device);
}
template <class T>
void download(const Exec& exec, index_t count, const T* device, T* host) {
    download_bytes(exec, static_cast<std::size_t>(count) * sizeof(T), device, host);
}
template <class T>
std::vector<T> downloaded(const Exec& exec, index_t count, const T* device) {
    std::vector<T> host(static_cast<std::size_t>(exec.device == Device::count_only ? 0 : count));
    download(exec, static_cast<index_t>(host.size()), device, host.data());
    return host;
}

// Host memory for `count` elements, pinned where the device is CUDA, so that copies run beside the host.
template <class T>
class HostArray {
  public:
    HostArray() = default;
    HostArray(Device device, index_t count);
    T* data() const { return static_cast<T*>(memory_.get()); }
    T& operator[](index_t i) const { return data()[i]; }

  private:
    std::shared_ptr<void> memory_;
};

// Memory of a device, given back with its last owner; nullptr for 0 bytes. Throws InputError where the device
// has not got so much.
std::shared_ptr<void> device_memory(std::size_t bytes);
std::shared_ptr<void> host_memory(Device device, std::size_t bytes);

template <class T>
HostArray<T>::HostArray(Device device, index_t count)
    : memory_(host_memory(device, static_cast<std::size_t>(count) * sizeof(T))) {}

// Bytes of the GPU that are taken, by whomever; 0 without one.
std::size_t device_bytes_in_use();

}  // namespace glow
