// A warp's products of bf16 matrices in shared memory, summed in float (PTX, compute capability 8.0).
// Elements are distributed over registers as for mma.m16n8k16 in the PTX manual: lane l holds rows l / 4 and
// l / 4 + 8 of the result, columns 2 (l % 4) and 2 (l % 4) + 1, in this order.
#pragma once

#include <cstdint>

#include "kernels/async_copy.cuh"

namespace glow::inline GLOW_REAL {

// Factors, from a shared_address() with rows `line` elements apart. A lane passes the address of the matrix
// plus its own offset, in bytes.
//
// The left factor [16, 16].
__device__ inline unsigned left_offset(int lane, int line) {
    return 2 * (lane % 16 * line + lane / 16 * 8);
}
__device__ inline void load_left(unsigned (&a)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(address)
                 : "memory");
}
// The same, if shared memory holds its transpose.
__device__ inline unsigned left_transposed_offset(int lane, int line) {
    return 2 * ((lane % 8 + lane / 16 * 8) * line + lane / 8 % 2 * 8);
}
__device__ inline void load_left_transposed(unsigned (&a)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(address)
                 : "memory");
}
// Two right factors [16, 8] side by side.
__device__ inline unsigned right_offset(int lane, int line) {
    return left_offset(lane, line);
}
__device__ inline void load_right(unsigned (&b0)[2], unsigned (&b1)[2], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b0[0]), "=r"(b0[1]), "=r"(b1[0]), "=r"(b1[1])
                 : "r"(address)
                 : "memory");
}
// c [16, 8] += a b
__device__ inline void multiply_add(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two values rounded to bf16, the first in the lower half.
__device__ inline unsigned pack_bf16(float first, float second) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

}  // namespace glow::inline GLOW_REAL
