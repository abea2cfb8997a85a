#include "tests/runtime/failing_allocations.h"

#include <cstdlib>
#include <new>

namespace glow {
namespace {

thread_local int g_allocations_left = -1;

}  // namespace

void fail_after_allocations(int count) {
    g_allocations_left = count;
}

static void* allocate_if_allowed(std::size_t bytes) {
    if (g_allocations_left == 0) throw std::bad_alloc();
    if (g_allocations_left > 0) --g_allocations_left;
    void* const memory = std::malloc(bytes > 0 ? bytes : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace glow

// In a source of their own: inlined into users, they would look mismatched to the compiler.
void* operator new(std::size_t bytes) {
    return glow::allocate_if_allowed(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
