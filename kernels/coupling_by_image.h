// The coupling layer from the taps of the network's last convolution, for a GPU: one kernel forward and one
// backward, with a thread block per image. Values between taps and state stay in registers and shared memory.
// The element formulas are those of kernels/coupling.h and kernels/convolution.h, and results are bit-equal
// to theirs.
#pragma once

#include "kernels/base.h"
#include "kernels/coupling_scale.h"
#include "kernels/taps.h"

namespace glow::inline GLOW_REAL {

// A tile of images of a coupling layer and its network's last convolution. Channels of the state: outputs
// (affine) or 2 outputs (additive); a is the first half, b the second.
struct CouplingImages {
    bool affine;
    CouplingScale coupling_scale;  // of an affine coupling
    index_t N, H, W;
    index_t outputs;          // channels of the network's output
    index_t stride;           // elements of a pixel's taps: tap * outputs + c, then padding
    const real* edge_weight;  // [(c * 9 + tap) * edge_stride]; nullptr: no edge channel
    index_t edge_stride;
    const real* bias;     // [outputs]
    const double* scale;  // [outputs]
    state_t* h;           // [N*H*W, channels]

    index_t channels() const { return affine ? outputs : 2 * outputs; }
};

// Whether the backward kernel's shared memory holds an image. Map: type of the taps' gradient.
template <class Map>
bool coupling_by_image_fits(index_t H, index_t W, index_t outputs);

// b <- coupling of b by out = (taps summed + edge + bias) scale; affine: logdet[n] += sum of log scale
// (nats). taps [N*H*W, stride]. Writes out [N*H*W, outputs] unless nullptr.
void coupling_forward_by_image(const Exec& exec, const CouplingImages& images, const real* taps,
                               double* logdet, real* out);

template <class Map>
struct CouplingImagesGradient {
    double dlogdet;  // of every image
    real* dh;        // [N*H*W, channels] dL/dy -> dL/dx in the b half
    Map* dtaps;      // [N*H*W, stride] = dL/d taps, rounded to Map, zeros in the padding
    // sums[s * sums_stride + n]: image n's contribution to sum s = kind * outputs + c (kernels/taps.h). Sums
    // per tap use dpre rounded to Map, as the weight gradient does.
    double* sums;
    index_t sums_stride;
};
// h: y -> x, and the gradient. Reads out, if not nullptr, instead of taps.
template <class Map>
void coupling_backward_by_image(const Exec& exec, const CouplingImages& images, const real* taps,
                                const real* out, const CouplingImagesGradient<Map>& gradient);

}  // namespace glow::inline GLOW_REAL
