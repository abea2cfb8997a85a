// What forward keeps of a state for backward where it does not keep it whole: the state in float, or how it
// rounded. States are [rows, C]; a coupling network sees the first C/2 channels, a, rounded to Map (real or
// bfloat16), and the gradients see all channels rounded to float: see round_state() in kernels/math.h.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// 64-bit words that save_roundings() writes: one bit for a network input, and two bits for every 62 of them.
index_t rounding_words(index_t rows, index_t C);

// words [rounding_words(rows, C)]: the parity of every rounded network input, and for each channel the parity
// over 62 rows of all its elements' roundings to float.
template <class Map>
void save_roundings(const Exec& exec, index_t rows, index_t C, const state_t* h, std::uint64_t* words);

// Moves elements of a rebuilt state h, by less than they had drifted, to where they round as the true state
// did. Network inputs: exact whenever they drifted by less than half a step of the rounding (float: 2^-25 of
// their size and at least 2^-31). Roundings to float otherwise: exact where one element at most of 62 rounds
// to another value (a drift of d steps: all but d^2 of them).
template <class Map>
void restore_roundings(const Exec& exec, index_t rows, index_t C, const std::uint64_t* words, state_t* h);

// to[i] = round_state<float>(from[i]), and back.
void save_float(const Exec& exec, index_t count, const state_t* from, float* to);
void restore_float(const Exec& exec, index_t count, const float* from, state_t* to);

}  // namespace glow::inline GLOW_REAL
