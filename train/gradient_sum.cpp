// Buckets of gradients.
#include "train/gradient_sum.h"

#include <algorithm>

#include "kernels/error.h"

namespace glow {

GradientSum::GradientSum(const Context& context, const Place& place, index_t size, float* gradients,
                         Arena& communication)
    : context_(context),
      size_(size),
      gradients_(gradients),
      scratch_(communication.take_bytes(context.communicator.scratch_bytes(place, size))),
      complete_(size),
      started_(size) {}

void GradientSum::complete(const TensorRange& range) {
    if (range.offset + range.count != complete_)
        throw Error("backward completed its gradients in another order than that of the flat array");
    complete_ = range.offset;
    while (started_ - complete_ >= kBucketElements) start(started_ - kBucketElements);
}

void GradientSum::finish() {
    while (started_ > 0) start(std::max<index_t>(0, started_ - kBucketElements));
    if (!context_.dry()) context_.communicator.finish_sums(context_.place);
    complete_ = started_ = size_;
}

void GradientSum::start(index_t first) {
    if (!context_.dry())
        context_.communicator.start_sum(context_.place, started_ - first, gradients_ + first, scratch_);
    started_ = first;
}

}  // namespace glow
