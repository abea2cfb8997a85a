#include "runtime/trace.h"

#include "runtime/cuda.h"

namespace glow {

Trace::Trace(const char* name) {
    cuda::begin_range(name);
}
Trace::~Trace() {
    cuda::end_range();
}

}  // namespace glow
