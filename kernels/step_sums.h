// The few numbers that a step tells the host, gathered where its kernels run.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Sums over the images of all micro-batches of a step.
struct StepSums {
    double log_density = 0;          // nats
    double bits_y = 0, error_y = 0;  // of the classifier
    double drift = 0;                // the largest |rebuilt x - x|
    double squares = 0;              // of the whole gradient
};

inline constexpr index_t kStepSums = sizeof(StepSums) / sizeof(double);

// What a pass found of its images, [N] each.
struct ImageScores {
    const double *logdet, *prior;    // nats
    const double *bits_y, *error_y;  // nullptr where there is no classifier
    const double* difference;        // |rebuilt x - x|
};

// sums <- sums and those of N images more; drift becomes the larger one (inf where it is not a number).
// `squares` is left alone. partial: group_scratch(1) doubles.
void add_step_sums(const Exec& exec, index_t N, const ImageScores& images, StepSums* sums, double* partial);

}  // namespace glow::inline GLOW_REAL
