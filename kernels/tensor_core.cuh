// A warp's products of bf16 matrices in shared memory, summed in float (PTX, compute capability 8.0).
// Elements are distributed over registers as for mma.m16n8k16 in the PTX manual: lane l holds rows l / 4 and
// l / 4 + 8 of the result, columns 2 (l % 4) and 2 (l % 4) + 1, in this order.
//
// On the host the instructions are only declared: tests that run a kernel's source define them for emulated
// warps (tests/kernels/warp_emulator.h).
#pragma once

#include <cstdint>

#include "kernels/async_copy.cuh"

// For code of kernels that use these instructions. GLOW_UNROLL(n) stands before a loop; without a number it
// is unrolled completely. g++ would warn about the pragma.
#if defined(__CUDACC__)
#define GLOW_DEVICE __device__
#define GLOW_PRAGMA(text) _Pragma(#text)
#define GLOW_UNROLL(count) GLOW_PRAGMA(unroll count)
#else
#define GLOW_DEVICE
#define GLOW_UNROLL(count)
#endif

namespace glow::inline GLOW_REAL {

#if defined(__CUDACC__)
// Four matrices [8, 8] of 2 bytes per element, transposed or not. Lane l passes the address of row l % 8 of
// matrix l / 8.
GLOW_DEVICE inline void load_matrices(unsigned (&m)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address)
                 : "memory");
}
GLOW_DEVICE inline void load_matrices_transposed(unsigned (&m)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address)
                 : "memory");
}
// c [16, 8] += a b
GLOW_DEVICE inline void multiply_add(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Two values rounded to bf16, the first in the lower half.
GLOW_DEVICE inline unsigned pack_bf16(float first, float second) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}
GLOW_DEVICE inline void sync_threads() {
    __syncthreads();
}
#else
unsigned shared_address(const void* pointer);
void load_matrices(unsigned (&m)[4], unsigned address);
void load_matrices_transposed(unsigned (&m)[4], unsigned address);
void multiply_add(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
unsigned pack_bf16(float first, float second);
void sync_threads();
#endif

// Factors, from a shared_address() with rows `line` elements apart. A lane passes the address of the matrix
// plus its own offset, in bytes.
//
// The left factor [16, 16].
GLOW_DEVICE inline unsigned left_offset(int lane, int line) {
    return 2 * (lane % 16 * line + lane / 16 * 8);
}
GLOW_DEVICE inline void load_left(unsigned (&a)[4], unsigned address) {
    load_matrices(a, address);
}
// The same, if shared memory holds its transpose.
GLOW_DEVICE inline unsigned left_transposed_offset(int lane, int line) {
    return 2 * ((lane % 8 + lane / 16 * 8) * line + lane / 8 % 2 * 8);
}
GLOW_DEVICE inline void load_left_transposed(unsigned (&a)[4], unsigned address) {
    load_matrices_transposed(a, address);
}
// Two right factors [16, 8] side by side.
GLOW_DEVICE inline unsigned right_offset(int lane, int line) {
    return left_offset(lane, line);
}
GLOW_DEVICE inline void load_right(unsigned (&b0)[2], unsigned (&b1)[2], unsigned address) {
    unsigned b[4];
    load_matrices_transposed(b, address);
    b0[0] = b[0], b0[1] = b[1], b1[0] = b[2], b1[1] = b[3];
}

}  // namespace glow::inline GLOW_REAL
