// Interface between the runtime and CUDA without vendor types. Implemented by cuda*.cpp, or by no_cuda.cpp,
// where every function that needs a GPU throws InputError and says how to enable CUDA.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/base.h"

namespace glow {

class Blas;
class Solver;

namespace cuda {

// See cuda_problem() in device.h. ordinal: number of the GPU.
std::string problem(int ordinal = 0);
// Whether a build for `architectures`, as CMake's CUDA_ARCHITECTURES but separated by commas ("80-real,90"), has
// code that a GPU of this compute capability runs (90: 9.0).
bool has_code_for(int capability, std::string_view architectures);

// Number of GPUs visible to this process; 0 if none can be used.
int device_count();
// The same text for this thread's GPU in every process that uses it, and for no other GPU.
std::string device_id();
// Owners of a stream, an event and an instantiated graph.
class Stream;
class Event;
class Graph;
struct Close {
    void operator()(Stream* stream) const noexcept;
    void operator()(Event* event) const noexcept;
    void operator()(Graph* graph) const noexcept;
};
using StreamPtr = std::unique_ptr<Stream, Close>;
using EventPtr = std::unique_ptr<Event, Close>;
using GraphPtr = std::unique_ptr<Graph, Close>;

// Selects GPU `ordinal` for this thread and opens a stream on it.
StreamPtr open_stream(int ordinal);
// Selects GPU `ordinal` for this thread while it lives, or leaves the selection; then restores what was selected. For
// callers that use GPUs themselves. Nothing happens in a build without CUDA.
class DeviceScope {
  public:
    DeviceScope();
    explicit DeviceScope(int ordinal);
    ~DeviceScope();
    DeviceScope(const DeviceScope&) = delete;
    DeviceScope& operator=(const DeviceScope&) = delete;

  private:
    int before_ = -1;  // none
};
// Opens another stream on this thread's GPU.
StreamPtr open_concurrent_stream();
// The cudaStream_t, for Exec::stream.
void* native_handle(const Stream& stream);
EventPtr open_event();
// Makes later work on `then` wait for everything queued on `first` so far.
void order(const Exec& first, const Exec& then, const Event& event);
// "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.2 GiB"
std::string describe(int ordinal);
// Shared memory that a block of GPU `ordinal` can have.
index_t shared_bytes_per_block(int ordinal);

// Throw InputError if there is not enough memory.
void* allocate(std::size_t bytes);
void release(void* memory) noexcept;
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* memory) noexcept;
std::size_t bytes_in_use();
std::size_t bytes();  // of the device

// Queued on the stream. start_copy_to_device() does not wait: keep `host`, pinned memory, unchanged until the
// copy is done. copy_within_device() does not wait either; the others do.
void start_copy_to_device(const Exec& exec, std::size_t bytes, const void* host, void* device);
void copy_within_device(const Exec& exec, std::size_t bytes, const void* from, void* to);
void copy_to_device(const Exec& exec, std::size_t bytes, const void* host, void* device);
void copy_to_host(const Exec& exec, std::size_t bytes, const void* device, void* host);
void synchronize(const Exec& exec);

// Captures launches on the stream as a graph that can be replayed on it. Other threads may allocate and copy
// meanwhile. abort_capture() discards the graph and leaves the stream usable.
void begin_capture(const Exec& exec);
GraphPtr end_capture(const Exec& exec);
void abort_capture(const Exec& exec) noexcept;
void replay(const Exec& exec, const Graph& graph);
// Profiler ranges; no-ops in a build without CUDA.
void begin_range(const char* name) noexcept;
void end_range() noexcept;

// Libraries open at the first run(), so scratch_bytes() needs no GPU. fused = false (for tests): epilogues
// run as separate kernels instead of in cuBLASLt.
std::unique_ptr<Blas> make_blas(const Exec& exec, bool fused = true);
std::unique_ptr<Solver> make_solver(const Exec& exec);

// {"cuBLAS", "13.1.0"}, {"cuSOLVER", ...}: versions of the loaded libraries, or "no".
std::vector<std::pair<std::string, std::string>> library_versions();

}  // namespace cuda
}  // namespace glow
