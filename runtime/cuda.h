// The seam between the runtime and CUDA, free of vendor types: cuda.cpp and its neighbors fulfil it, or
// no_cuda.cpp, where every function that would need a GPU throws InputError and says how to get one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base.h"

namespace glow {

class Blas;
class Solver;

namespace cuda {

// See cuda_problem() in device.h.
std::string problem();

// GPUs that this process sees; 0 where there is none or none can be used.
int device_count();
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

// Makes GPU number `ordinal` this thread's and opens a stream on it.
StreamPtr open_stream(int ordinal);
// Another one on this thread's GPU.
StreamPtr open_concurrent_stream();
// The cudaStream_t, for Exec::stream.
void* native_handle(const Stream& stream);
EventPtr open_event();
// Later work of `then` waits for everything queued at `first` so far.
void order(const Exec& first, const Exec& then, const Event& event);
// "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.2 GiB"
std::string describe(int ordinal);

// Throw InputError where there is not so much.
void* allocate(std::size_t bytes);
void release(void* memory) noexcept;
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* memory) noexcept;
std::size_t bytes_in_use();

// On the stream. start_copy_to_device() does not wait: `host`, pinned, must stay as it is until the
// stream has got so far; nor does copy_within_device(). The others wait until it is done.
void start_copy_to_device(const Exec& exec, std::size_t bytes, const void* host, void* device);
void copy_within_device(const Exec& exec, std::size_t bytes, const void* from, void* to);
void copy_to_device(const Exec& exec, std::size_t bytes, const void* host, void* device);
void copy_to_host(const Exec& exec, std::size_t bytes, const void* device, void* host);
void synchronize(const Exec& exec);

// Captures what is launched on the stream in between as a graph that can be replayed on it. Other threads
// may allocate and copy meanwhile. abort_capture() drops it and leaves the stream usable.
void begin_capture(const Exec& exec);
GraphPtr end_capture(const Exec& exec);
void abort_capture(const Exec& exec) noexcept;
void replay(const Exec& exec, const Graph& graph);
// Ranges for profilers; nothing in a build without CUDA.
void begin_range(const char* name) noexcept;
void end_range() noexcept;

// Neither opens its libraries before the first run(), so that scratch_bytes() needs no GPU.
// fused: whether epilogues may go to cuBLASLt; without it they are kernels of their own (for tests).
std::unique_ptr<Blas> make_blas(const Exec& exec, bool fused = true);
std::unique_ptr<Solver> make_solver(const Exec& exec);

// {"cuBLAS", "13.1.0"}, {"cuSOLVER", ...}: of the libraries as loaded, or "no".
std::vector<std::pair<std::string, std::string>> library_versions();

}  // namespace cuda
}  // namespace glow
