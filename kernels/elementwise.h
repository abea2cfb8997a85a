// Element-wise operations on flat arrays: fill, copy, cast.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// values[i] = value.
template <class T>
void fill(const Exec& exec, index_t count, T value, T* values);

// to[i] = from[i].
template <class T>
void copy(const Exec& exec, index_t count, const T* from, T* to);

// to[i] = from[i], rounded to nearest even.
template <class From, class To>
void cast(const Exec& exec, index_t count, const From* from, To* to);

}  // namespace glow::inline GLOW_REAL
