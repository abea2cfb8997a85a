// Class conditioning: the class-dependent shift of the top prior, and the classifier of the top latents.
// labels [N] are classes 0 .. classes - 1 in device memory.
#pragma once

#include <cstdint>

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Where the gradients of a layer's weight, bias and logs go, +=.
struct LinearGradient {
    real *weight, *bias, *logs;
};

// vectors[k, j] = (weight[k, j] + bias[j]) exp(3 logs[j]), [classes, J].
void class_vectors(const Exec& exec, index_t classes, index_t J, const real* weight, const real* bias,
                   const real* logs, real* vectors);
// maps[n, p, j] = map[p, j] + vectors[labels[n], j], [N, pixels, J].
void class_maps(const Exec& exec, index_t N, index_t pixels, index_t J, const real* map, const real* vectors,
                const std::int32_t* labels, real* maps);
// Backward of class_maps, from dmaps [N, pixels, J]: dmap[p, j] = sum over images (overwrites), image_sums[n,
// j] = sum over pixels (overwrites).
void class_maps_backward(const Exec& exec, index_t N, index_t pixels, index_t J, const real* dmaps,
                         real* dmap, double* image_sums);
// Gradients of class_vectors from image_sums [N, J] of images with `labels`.
struct ClassSums {
    index_t N, classes, J;
    const std::int32_t* labels;
    const double* image_sums;
};
void class_vectors_backward(const Exec& exec, const ClassSums& sums, const real* vectors, const real* logs,
                            const LinearGradient& gradient);

// mean[n, c] = mean over the pixels of z [N, pixels, C].
void spatial_mean(const Exec& exec, index_t N, index_t pixels, index_t C, const state_t* z, double* mean);

// The zero-initialized linear layer: logits[n, k] = (sum_c mean[n, c] weight[c, k] + bias[k]) exp(3 logs[k]).
struct LinearLayer {
    const real* weight;  // [C, classes]
    const real* bias;    // [classes]
    const real* logs;    // [classes]
};
void class_logits(const Exec& exec, index_t N, index_t C, index_t classes, const double* mean,
                  const LinearLayer& layer, double* logits);
// bits[n] = -log2 softmax(logits[n])[labels[n]]; error[n] = 1 if another class has an equal or larger logit,
// otherwise 0. Overwrites logits [N, classes] with probabilities.
void cross_entropy(const Exec& exec, index_t N, index_t classes, const std::int32_t* labels, double* logits,
                   double* bits, double* error);
// Gradients of dbits * sum over n of bits[n], from the probabilities. dpre [N, classes] (overwrites) is the
// gradient before the scale; dz [N, pixels, C] +=.
struct ClassifierForward {
    index_t N, pixels, C, classes;
    const std::int32_t* labels;
    const double *mean, *probabilities;
};
void classifier_backward(const Exec& exec, const ClassifierForward& forward, const LinearLayer& layer,
                         double dbits, double* dpre, const LinearGradient& gradient, real* dz);

}  // namespace glow::inline GLOW_REAL
