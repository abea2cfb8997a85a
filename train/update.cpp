#include "train/update.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/flat_sums.h"
#include "runtime/device.h"

namespace glow {
namespace {

// Before the memory of the sums is freed. The other processes take part: they start the same sums before they
// can fail or wait for later ones.
void wait_for_sums(const Context& context) {
    if (context.counting()) return;
    try {
        context.communicator.finish_all_reduces(context.exec);
    } catch (const std::exception&) {  // already failing: the first exception is reported
    }
}

}  // namespace

// ---- Whole model -----------------------------------------------------------------------------------

WholeModelUpdate::WholeModelUpdate(const Context& context, const Exec& exec, index_t size,
                                   const Weights& weights, Memory& memory, double* partial)
    : context_(context),
      weights_(weights),
      size_(size),
      partial_(partial),
      gradients_(memory[Category::gradients].take<float>(size)),
      scratch_(memory[Category::communication].take_bytes(context.communicator.scratch_bytes(exec, size))),
      complete_(size),
      started_(size) {}

WholeModelUpdate::~WholeModelUpdate() {
    if (started_ < size_) wait_for_sums(context_);
}

// Whether sums run during backward: on a GPU only if they can be captured in its CUDA graph.
bool WholeModelUpdate::overlaps() const {
    return context_.exec.device != Device::cuda || context_.communicator.graph_capturable();
}

void WholeModelUpdate::begin_step(const OptimizerStep&) {
    if (started_ < size_) wait_for_sums(context_);  // of a step that failed
    complete_ = started_ = size_;
    fill(context_.exec, size_, 0.0f, gradients_);
}

// From here to the end of the sums, only the communicator may access the completed gradients.
void WholeModelUpdate::complete(const ParameterBlock& block) {
    if (!summing_) return;
    if (block.offset + block.count != complete_)
        throw Error("backward completed gradients in a different order than the flat array");
    complete_ = block.offset;
    while (started_ - complete_ >= kBucketElements) all_reduce_async(started_ - kBucketElements);
}

void WholeModelUpdate::all_reduce_async(index_t first) {
    if (!context_.counting())
        context_.communicator.all_reduce_async(context_.exec, started_ - first, gradients_ + first, scratch_);
    started_ = first;
}

void WholeModelUpdate::finish_all_reduces() {
    while (started_ > 0) all_reduce_async(std::max<index_t>(0, started_ - kBucketElements));
    if (!context_.counting()) context_.communicator.finish_all_reduces(context_.exec);
    complete_ = started_ = size_;
}

void WholeModelUpdate::reduce(bool had_images, StepSums* sums) {
    if (!overlaps() || !had_images) finish_all_reduces();
    sum_of_squares(context_.exec, size_, gradients_, &sums->squares, partial_);
}

void WholeModelUpdate::apply(const OptimizerStep& step) {
    if (!weights_.has_moments()) return;
    with_moments(weights_, [&](auto* m, auto* v) {
        optimizer_step(context_.exec, size_, step, gradients_,
                       OptimizerArrays{weights_.params, m, v, weights_.ema});
    });
}

// ---- Fused -----------------------------------------------------------------------------------------

FusedUpdate::FusedUpdate(const Context& context, const Exec& exec, Glow& glow, const Weights& weights,
                         Memory& memory)
    : context_(context), glow_(glow), weights_(weights) {
    const index_t largest = largest_count(glow.blocks());
    const bool alone = context.communicator.size() == 1;
    for (int i = 0; i < (alone ? 1 : 2); ++i)
        buffers_.push_back(memory[Category::gradients].take<float>(largest));
    scratch_ = memory[Category::communication].take_bytes(context.communicator.scratch_bytes(exec, largest));
    Arena& state = memory[Category::state];
    step_ = state.take<OptimizerStep>(1);
    squares_ = state.take<double>(std::ssize(glow.blocks()));
    partial_ = state.take<double>(square_scratch());
}

FusedUpdate::~FusedUpdate() {
    if (summing_) wait_for_sums(context_);
}

void FusedUpdate::begin_step(const OptimizerStep& step) {
    if (summing_) wait_for_sums(context_);  // of a step that failed
    summing_.reset();
    upload(context_.exec, 1, &step, step_);
    number_ = 0;
}

ParameterGradients FusedUpdate::begin(const ParameterBlock& block) {
    float* const gradient = buffers_[number_ % std::ssize(buffers_)];
    fill(context_.exec, block.count, 0.0f, gradient);
    return {gradient, block.offset};
}

void FusedUpdate::complete(const ParameterBlock& block) {
    const Completed completed{block, buffers_[number_ % std::ssize(buffers_)], number_};
    ++number_;
    if (buffers_.size() == 1) return update(completed);
    finish();
    if (!context_.counting())
        context_.communicator.all_reduce_async(context_.exec, block.count, completed.gradient, scratch_);
    summing_ = completed;
}

void FusedUpdate::finish() {
    if (!summing_) return;
    if (!context_.counting()) context_.communicator.finish_all_reduces(context_.exec);
    update(*summing_);
    summing_.reset();
}

void FusedUpdate::update(const Completed& completed) {
    const index_t first = completed.block.offset, count = completed.block.count;
    double* const squares = squares_ + completed.number;
    sum_of_squares(context_.exec, count, completed.gradient, squares, partial_);
    with_moments(weights_, [&](auto* m, auto* v) {
        optimizer_step(
            context_.exec, count, step_, squares, completed.gradient,
            OptimizerArrays{weights_.params + first, m + first, v + first, weights_.ema + first, first});
    });
}

void FusedUpdate::reduce(bool had_images, StepSums*) {
    if (had_images) return;
    for (const ParameterBlock& block : glow_.blocks()) {
        begin(block);
        complete(block);
    }
    finish();
}

std::vector<double> FusedUpdate::squares_of_blocks() const {
    return downloaded(context_.exec, std::ssize(glow_.blocks()), squares_);
}

double FusedUpdate::squared_norm(const StepSums&) const {
    double sum = 0;
    for (const double squares : squares_of_blocks()) sum += squares;
    return sum;
}

std::string FusedUpdate::bad_block() const {
    const std::vector<double> squares = squares_of_blocks();
    for (std::size_t i = 0; i < squares.size(); ++i)
        if (!std::isfinite(squares[i])) return glow_.blocks()[i].name(glow_.config().levels);
    return "";
}

}  // namespace glow
