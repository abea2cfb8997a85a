// The sums over a training step that the host reads, accumulated on the device.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Sums over the images of all micro-batches of a step.
struct StepSums {
    double log_density = 0;          // nats
    double bits_y = 0, error_y = 0;  // of the classifier: bits, errors
    double drift = 0;                // largest |reconstructed x - x|
    double squares = 0;              // squared norm of the whole gradient
};

inline constexpr index_t kStepSums = sizeof(StepSums) / sizeof(double);

// Results of a pass, [N] each.
struct PassResults {
    const double *logdet, *prior;    // nats
    const double *bits_y, *error_y;  // nullptr without a classifier
    const double* difference;        // largest |reconstructed x - x|
};

// Adds N images to sums. drift becomes the maximum (inf if not a number); `squares` is unchanged. partial:
// group_scratch(1) doubles.
void add_step_sums(const Exec& exec, index_t N, const PassResults& images, StepSums* sums, double* partial);

}  // namespace glow::inline GLOW_REAL
