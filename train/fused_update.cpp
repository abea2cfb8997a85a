// A piece at a time: gradient, sum over the processes, update.
#include "train/fused_update.h"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.h"
#include "runtime/device.h"

namespace glow {

FusedUpdate::FusedUpdate(const Context& context, const Place& place, Glow& glow, const Weights& weights,
                         Memory& memory)
    : context_(context), glow_(glow), weights_(weights) {
    index_t largest = 0;
    for (const Piece& piece : glow.pieces()) largest = std::max(largest, piece.range.count);
    const bool alone = context.communicator.size() == 1;
    for (int i = 0; i < (alone ? 1 : 2); ++i)
        buffers_.push_back(memory[Category::gradients].take<float>(largest));
    scratch_ = memory[Category::communication].take_bytes(context.communicator.scratch_bytes(place, largest));
    Arena& state = memory[Category::state];
    update_ = state.take<OptimiserStep>(1);
    squares_ = state.take<double>(std::ssize(glow.pieces()));
    partial_ = state.take<double>(square_scratch());
}

void FusedUpdate::start(const OptimiserStep& update) {
    upload(context_.place, 1, &update, update_);
    piece_ = 0;
}

void FusedUpdate::begin(const TensorRange& range) {
    float* const gradient = buffers_[piece_ % std::ssize(buffers_)];
    fill(context_.place, range.count, 0.0f, gradient);
    glow_.parameters().bind_gradients(gradient, range.offset);
}

void FusedUpdate::complete(const TensorRange& range) {
    const Summing complete{range, buffers_[piece_ % std::ssize(buffers_)], piece_};
    ++piece_;
    if (buffers_.size() == 1) return update(complete);
    finish();
    if (!context_.dry())
        context_.communicator.start_sum(context_.place, range.count, complete.gradient, scratch_);
    summing_ = complete;
}

void FusedUpdate::finish() {
    if (!summing_) return;
    if (!context_.dry()) context_.communicator.finish_sums(context_.place);
    update(*summing_);
    summing_.reset();
}

void FusedUpdate::update(const Summing& summed) {
    const index_t first = summed.range.offset, count = summed.range.count;
    double* const squares = squares_ + summed.piece;
    sum_of_squares(context_.place, count, summed.gradient, squares, partial_);
    with_moments(weights_, [&](auto* m, auto* v) {
        optimiser_step(context_.place, count, update_, squares, summed.gradient, weights_.params + first,
                       m + first, v + first, weights_.ema + first, first);
    });
}

void FusedUpdate::take_part() {
    for (const Piece& piece : glow_.pieces()) {
        begin(piece.range);
        complete(piece.range);
    }
    finish();
}

std::vector<double> FusedUpdate::squares_of_pieces() const {
    return context_.to_host(squares_, std::ssize(glow_.pieces()));
}

double FusedUpdate::squares() const {
    double sum = 0;
    for (const double squares : squares_of_pieces()) sum += squares;
    return sum;
}

std::string FusedUpdate::bad_piece() const {
    const std::vector<double> squares = squares_of_pieces();
    for (std::size_t i = 0; i < squares.size(); ++i)
        if (!std::isfinite(squares[i])) return glow_.pieces()[i].name(glow_.config().levels);
    return "";
}

}  // namespace glow
