// Compact forms of a state that forward saves for backward: the state in float, or only how it rounded.
// States are [rows, C]. A coupling network reads the first C/2 channels rounded to Map (real or bfloat16);
// gradients read all channels rounded to float. See round_state() in kernels/math.h.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Number of 64-bit words that save_roundings() writes: one bit per network input plus two bits for every 62.
index_t rounding_words(index_t rows, index_t C);

// words [rounding_words(rows, C)]: the parity of every rounded network input, and per channel the parity over
// 62 rows of all roundings to float.
template <class Map>
void save_roundings(const Exec& exec, index_t rows, index_t C, const state_t* h, std::uint64_t* words);

// Snaps a reconstructed state h to values that round like the true state did.
// Network inputs are exact if they drifted by less than half a rounding step (float: 2^-25 of their size and
// at least 2^-31). Other roundings to float are exact if at most one of 62 elements rounds differently (for a
// drift of d steps, all but a fraction d^2).
template <class Map>
void restore_roundings(const Exec& exec, index_t rows, index_t C, const std::uint64_t* words, state_t* h);

// Before restore_roundings(), for reconstructed pixels with uniform noise: their true values are multiples of
// 2^-33. With fewer than 7 bits many of them lie exactly between two floats, where any drift changes the
// rounding. Makes these exact if they drifted by less than 2^-35, and keeps all others.
void restore_noisy_pixels(const Exec& exec, index_t count, state_t* h);

// to[i] = round_state<float>(from[i]), and back.
void save_float(const Exec& exec, index_t count, const state_t* from, float* to);
void restore_float(const Exec& exec, index_t count, const float* from, state_t* to);

}  // namespace glow::inline GLOW_REAL
