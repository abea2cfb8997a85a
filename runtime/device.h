// Available devices, and copies to and from their memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

// Parses "auto" (a usable GPU, otherwise the CPU), "cpu" or "cuda". Throws InputError for other names.
Device parse_device(const std::string& text);
std::string to_string(Device device);

// Why Device::cuda cannot be used: no CUDA in this build, no driver, no GPU. Empty if it can.
std::string cuda_problem();
// Throws InputError, with the reason and what to do, if the device cannot be used.
void require_device(Device device);

// Waits for all work on the stream. Throws Error if any of it failed.
void synchronize(const Exec& exec);

// Copies between host memory and device memory, after earlier work on the stream. Returns when the copy and
// all earlier work are done. A plain copy on the CPU (none if from == to); no-op on Device::count_only.
void upload_bytes(const Exec& exec, std::size_t bytes, const void* host, void* device);
void download_bytes(const Exec& exec, std::size_t bytes, const void* device, void* host);
// The same without waiting: keep `host` unchanged until the copy is done (synchronize()).
void start_upload_bytes(const Exec& exec, std::size_t bytes, const void* host, void* device);
// Copies within device memory, ordered with other work on the stream.
void copy_bytes(const Exec& exec, std::size_t bytes, const void* from, void* to);
template <class T>
void upload(const Exec& exec, index_t count, const T* host, T* device) {
    upload_bytes(exec, static_cast<std::size_t>(count) * sizeof(T), host, device);
}
template <class T>
void download(const Exec& exec, index_t count, const T* device, T* host) {
    download_bytes(exec, static_cast<std::size_t>(count) * sizeof(T), device, host);
}
// `count` values in a new vector; empty on Device::count_only.
template <class T>
std::vector<T> downloaded(const Exec& exec, index_t count, const T* device) {
    std::vector<T> host(static_cast<std::size_t>(exec.device == Device::count_only ? 0 : count));
    download(exec, static_cast<index_t>(host.size()), device, host.data());
    return host;
}

// Host memory for `count` elements, pinned if the device is CUDA so that copies run asynchronously.
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

// Device memory, freed with its last owner; nullptr for 0 bytes. Throws InputError if the device does not
// have enough.
std::shared_ptr<void> device_memory(std::size_t bytes);
std::shared_ptr<void> host_memory(Device device, std::size_t bytes);

template <class T>
HostArray<T>::HostArray(Device device, index_t count)
    : memory_(host_memory(device, static_cast<std::size_t>(count) * sizeof(T))) {}

// GPU memory in use by all processes, and the total, in bytes; 0 without a GPU.
std::size_t device_bytes_in_use();
std::size_t device_bytes();

}  // namespace glow
