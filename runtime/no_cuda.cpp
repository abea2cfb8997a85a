#include "kernels/error.h"
#include "runtime/blas.h"
#include "runtime/cuda.h"
#include "runtime/cudnn.h"
#include "runtime/solver.h"

namespace glow::cuda {
namespace {

[[noreturn]] void refuse() {
    throw InputError("--device cuda: " + problem() + "; use --device cpu");
}

}  // namespace

std::string problem(int) {
    return "this build has no CUDA; configure with -DGLOW_CUDA=ON";
}
bool has_code_for(int, std::string_view) {
    return false;
}
DeviceScope::DeviceScope() = default;
DeviceScope::DeviceScope(int) {}
DeviceScope::~DeviceScope() = default;
int device_count() {
    return 0;
}
std::string device_id() {
    refuse();
}
void Close::operator()(Stream*) const noexcept {}
void Close::operator()(Event*) const noexcept {}
void Close::operator()(Graph*) const noexcept {}
StreamPtr open_stream(int) {
    refuse();
}
StreamPtr open_concurrent_stream() {
    refuse();
}
void* native_handle(const Stream&) {
    refuse();
}
EventPtr open_event() {
    refuse();
}
void order(const Exec&, const Exec&, const Event&) {
    refuse();
}
index_t shared_bytes_per_block(int) {
    refuse();
}
std::string describe(int) {
    refuse();
}
void* allocate(std::size_t) {
    refuse();
}
void release(void*) noexcept {}
void* allocate_pinned(std::size_t) {
    refuse();
}
void release_pinned(void*) noexcept {}
std::size_t bytes_in_use() {
    return 0;
}
std::size_t bytes() {
    return 0;
}
void start_copy_to_device(const Exec&, std::size_t, const void*, void*) {
    refuse();
}
void copy_within_device(const Exec&, std::size_t, const void*, void*) {
    refuse();
}
void copy_to_device(const Exec&, std::size_t, const void*, void*) {
    refuse();
}
void copy_to_host(const Exec&, std::size_t, const void*, void*) {
    refuse();
}
void synchronize(const Exec&) {
    refuse();
}
void begin_capture(const Exec&) {
    refuse();
}
GraphPtr end_capture(const Exec&) {
    refuse();
}
void abort_capture(const Exec&) noexcept {}
void replay(const Exec&, const Graph&) {
    refuse();
}
void begin_range(const char*) noexcept {}
void end_range() noexcept {}
std::unique_ptr<Blas> make_blas(const Exec&, bool) {
    refuse();
}
std::unique_ptr<Solver> make_solver(const Exec&) {
    refuse();
}
std::unique_ptr<Conv> make_conv(const Exec&) {
    refuse();
}
std::vector<std::pair<std::string, std::string>> library_versions() {
    return {{"cuBLAS", "no"}, {"cuDNN", "no"}, {"cuSOLVER", "no"}};
}

}  // namespace glow::cuda
