#include "runtime/cuda.h"

#include <fmt/format.h>
#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <charconv>

#include "kernels/cuda_error.h"
#include "kernels/error.h"
#include "runtime/cuda_call.h"
#include "runtime/cuda_libraries.h"
#include "runtime/cudnn.h"
#include "runtime/device.h"
#include "runtime/memory.h"

namespace glow::cuda {
namespace {

constexpr int kOldest = 80;  // compute capability 8.0, required for bf16 and tf32 products

// CUDA's context and libraries need memory too, so any call may run out of it.
[[noreturn]] void refuse_full(const char* call) {
    std::size_t free = 0, total = 0;
    const bool known = cudaMemGetInfo(&free, &total) == cudaSuccess;
    static_cast<void>(cudaGetLastError());
    throw InputError(fmt::format(
        "the GPU has no memory left{} for {}; nvidia-smi lists the programs that use it",
        known ? fmt::format(" ({} of {} free)", format_bytes(free), format_bytes(total)) : "", call));
}

// Formats the version numbers of cuBLAS: 130100 -> "13.1.0".
std::string version_text(std::size_t version, std::size_t major) {
    return fmt::format("{}.{}.{}", version / major, version % major / 100, version % 100);
}

}  // namespace

void check(cudaError_t status, const char* call, const char* file, int line) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());  // clear the error, so that later calls do not report it
    if (status == cudaErrorMemoryAllocation) refuse_full(call);
    if (status == cudaErrorDevicesUnavailable)
        throw InputError(fmt::format(
            "the GPU is in use by another program that does not share it ({}: {}); nvidia-smi lists programs",
            call, cudaGetErrorString(status)));
    throw_runtime_error(call, static_cast<int>(status), cudaGetErrorString(status), file, line);
}
void check(cublasStatus_t status, const char* call, const char* file, int line) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    if (status == CUBLAS_STATUS_ALLOC_FAILED) refuse_full(call);
    throw_cuda_error(call, static_cast<int>(status), cublasGetStatusString(status), file, line);
}
void check(cusolverStatus_t status, const char* call, const char* file, int line) {
    if (status == CUSOLVER_STATUS_SUCCESS) return;
    if (status == CUSOLVER_STATUS_ALLOC_FAILED) refuse_full(call);
    throw_cuda_error(call, static_cast<int>(status), "cuSOLVER status", file, line);
}

int device_count() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string device_id() {
    int device = 0;
    cudaDeviceProp properties{};
    GLOW_CUDA(cudaGetDevice(&device));
    GLOW_CUDA(cudaGetDeviceProperties(&properties, device));
    std::string id;
    for (const char byte : properties.uuid.bytes)
        id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return id;
}

std::string problem(int ordinal) {
    int count = 0;  // not written without a driver
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        int driver = 0;
        if (cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0)
            return fmt::format(
                "this machine's NVIDIA driver supports CUDA {}.{}, but this build needs {}.{}: "
                "install a newer driver",
                driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
        return "this machine has no NVIDIA driver";
    }
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
        return "no NVIDIA GPU is visible on this machine (check CUDA_VISIBLE_DEVICES)";
    if (status != cudaSuccess)
        return fmt::format("CUDA failed to initialize: {}", cudaGetErrorString(status));
    int major = 0, minor = 0;
    GLOW_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal));
    GLOW_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal));
    const std::string gpu = ordinal == 0 ? "the GPU" : fmt::format("GPU {}", ordinal);
    if (major * 10 + minor < kOldest)
        return fmt::format("{} has compute capability {}.{}; Glow needs 8.0 (A100) or newer", gpu, major,
                           minor);
    if (!has_code_for(major * 10 + minor, GLOW_CUDA_ARCHITECTURES))
        return fmt::format(
            "{} has compute capability {}.{}, for which this build has no code (it has {}): configure with "
            "-DCMAKE_CUDA_ARCHITECTURES={}{}",
            gpu, major, minor, GLOW_CUDA_ARCHITECTURES, major, minor);
    return "";
}

bool has_code_for(int capability, std::string_view architectures) {
    while (!architectures.empty()) {
        const std::string_view one = architectures.substr(0, architectures.find(','));
        architectures.remove_prefix(std::min(architectures.size(), one.size() + 1));
        int built = 0;
        const auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), built);
        if (error != std::errc()) return true;  // "native", "all": only CUDA knows
        const std::string_view kind(end, static_cast<std::size_t>(one.data() + one.size() - end));
        const bool exact = !kind.empty() && kind.front() != '-';  // "90a": nothing else runs it
        if (capability == built) return true;
        if (exact || capability < built) continue;
        // Machine code runs on later GPUs of the same generation, intermediate code on all later ones.
        if (capability / 10 == built / 10 || !kind.ends_with("-real")) return true;
    }
    return false;
}

class Stream {
  public:
    StreamHandle handle;
};
class Event {
  public:
    EventHandle handle;
};
class Graph {
  public:
    GraphExecHandle handle;
};

void Close::operator()(Stream* stream) const noexcept {
    delete stream;
}
void Close::operator()(Event* event) const noexcept {
    delete event;
}
void Close::operator()(Graph* graph) const noexcept {
    delete graph;
}

StreamPtr open_stream(int ordinal) {
    if (const std::string reason = problem(ordinal); !reason.empty())
        throw InputError("--device cuda: " + reason + "; or use --device cpu");
    GLOW_CUDA(cudaSetDevice(ordinal));
    return open_concurrent_stream();
}

StreamPtr open_concurrent_stream() {
    StreamPtr stream(new Stream);
    // Not the default stream, which cannot be captured, nor one that synchronizes with it.
    GLOW_CUDA(cudaStreamCreateWithFlags(stream->handle.out(), cudaStreamNonBlocking));
    return stream;
}

DeviceScope::DeviceScope() {
    int current = 0;
    if (cudaGetDevice(&current) == cudaSuccess)
        before_ = current;
    else
        static_cast<void>(cudaGetLastError());
}
DeviceScope::DeviceScope(int ordinal) : DeviceScope() {
    if (before_ != ordinal) GLOW_CUDA(cudaSetDevice(ordinal));
}
DeviceScope::~DeviceScope() {
    int current = -1;
    if (before_ >= 0 && cudaGetDevice(&current) == cudaSuccess && current != before_)
        static_cast<void>(cudaSetDevice(before_));
}

void* native_handle(const Stream& stream) {
    return static_cast<cudaStream_t>(stream.handle);
}

EventPtr open_event() {
    EventPtr event(new Event);
    GLOW_CUDA(cudaEventCreateWithFlags(event->handle.out(), cudaEventDisableTiming));
    return event;
}

void order(const Exec& first, const Exec& then, const Event& event) {
    // A wait refers to the record before it, so the event may be recorded again immediately.
    GLOW_CUDA(cudaEventRecord(event.handle, stream_of(first)));
    GLOW_CUDA(cudaStreamWaitEvent(stream_of(then), event.handle, 0));
}

index_t shared_bytes_per_block(int ordinal) {
    int bytes = 0;
    GLOW_CUDA(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal));
    return bytes;
}

std::string describe(int ordinal) {
    cudaDeviceProp properties{};
    GLOW_CUDA(cudaGetDeviceProperties(&properties, ordinal));
    return fmt::format("{}, compute capability {}.{}, {}", properties.name, properties.major,
                       properties.minor, format_bytes(properties.totalGlobalMem));
}

void* allocate(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
        static_cast<void>(cudaGetLastError());  // clear the error, so that later calls do not report it
        std::size_t free = 0, total = 0;
        GLOW_CUDA(cudaMemGetInfo(&free, &total));
        throw InputError(
            fmt::format("the GPU has {} of {} free, but {} more are needed; use a smaller model or "
                        "batch, or --micro-batch",
                        format_bytes(free), format_bytes(total), format_bytes(bytes)));
    }
    check(status, "cudaMalloc", __FILE__, __LINE__);
    return memory;
}

void release(void* memory) noexcept {
    static_cast<void>(cudaFree(memory));
}

void* allocate_pinned(std::size_t bytes) {
    void* memory = nullptr;
    GLOW_CUDA(cudaMallocHost(&memory, bytes));
    return memory;
}

void release_pinned(void* memory) noexcept {
    static_cast<void>(cudaFreeHost(memory));
}

std::size_t bytes_in_use() {
    std::size_t free = 0, total = 0;
    GLOW_CUDA(cudaMemGetInfo(&free, &total));
    return total - free;
}

std::size_t bytes() {
    std::size_t free = 0, total = 0;
    GLOW_CUDA(cudaMemGetInfo(&free, &total));
    return total;
}

void start_copy_to_device(const Exec& exec, std::size_t bytes, const void* host, void* device) {
    GLOW_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(exec)));
}

void copy_within_device(const Exec& exec, std::size_t bytes, const void* from, void* to) {
    GLOW_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(exec)));
}

void copy_to_device(const Exec& exec, std::size_t bytes, const void* host, void* device) {
    start_copy_to_device(exec, bytes, host, device);
    GLOW_CUDA(cudaStreamSynchronize(stream_of(exec)));
}

void copy_to_host(const Exec& exec, std::size_t bytes, const void* device, void* host) {
    GLOW_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(exec)));
    GLOW_CUDA(cudaStreamSynchronize(stream_of(exec)));
}

void synchronize(const Exec& exec) {
    GLOW_CUDA(cudaStreamSynchronize(stream_of(exec)));
}

void begin_capture(const Exec& exec) {
    GLOW_CUDA(cudaStreamBeginCapture(stream_of(exec), cudaStreamCaptureModeThreadLocal));
}

GraphPtr end_capture(const Exec& exec) {
    GraphHandle captured;
    GLOW_CUDA(cudaStreamEndCapture(stream_of(exec), captured.out()));
    GraphPtr graph(new Graph);
    GLOW_CUDA(cudaGraphInstantiate(graph->handle.out(), captured, 0));
    return graph;
}

void abort_capture(const Exec& exec) noexcept {
    GraphHandle captured;
    static_cast<void>(cudaStreamEndCapture(stream_of(exec), captured.out()));
    static_cast<void>(cudaGetLastError());
}

void replay(const Exec& exec, const Graph& graph) {
    GLOW_CUDA(cudaGraphLaunch(graph.handle, stream_of(exec)));
}

void begin_range(const char* name) noexcept {
    nvtxRangePushA(name);
}
void end_range() noexcept {
    nvtxRangePop();
}

std::vector<std::pair<std::string, std::string>> library_versions() {
    if (const std::string problem = load_libraries(); !problem.empty()) return {{"CUDA", problem}};
    int solver = 0;
    GLOW_CUDA(cusolverGetVersion(&solver));
    return {{"cuBLAS", version_text(cublasLtGetVersion(), 10000)},
            {"cuDNN", cudnn_version()},
            {"cuSOLVER", version_text(static_cast<std::size_t>(solver), 1000)}};
}

}  // namespace glow::cuda
