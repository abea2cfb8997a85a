// Makes allocations by operator new fail, in one thread.
#pragma once

namespace glow {

// This thread can allocate `count` times more; below 0: without a limit, as at the start.
void fail_after_allocations(int count);

}  // namespace glow
