// The top prior: log N(z; mean, exp(logs)). With --learn-top, (mean, logs) is a zero-initialized 3x3
// convolution of an all-zero input, so that only the edge channel, bias and logs matter: one map for all
// images. With --y-cond, (onehot(y) Wc + bias) exp(3 logs) of the image's class is added at every pixel.
#pragma once

#include "kernels/gaussian.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class TopPrior {
  public:
    TopPrior(const ModelConfig& config, const Shape& shape, Parameters& parameters);

    // Allocates the map and its scale, 2 * H*W*C elements and 2 C doubles of derived values, plus 2 C
    // elements per class.
    void allocate(Arena& derived);
    // Computes the map and the class vectors from the parameters; call after every change of them.
    void derive(const Context& context);

    // flow.prior += log-density of z = h; conditional models read flow.labels.
    void forward(const Context& context, Flow& flow);
    // The same by pixel: log_density [N, H, W] += (nats).
    void forward_by_pixel(const Context& context, const Flow& flow, double* log_density) const;
    // dh = dL/dz (overwrites), parameter gradients +=. With gradient.from_eps, dh is dL/deps before, and the
    // parameters get no gradients.
    void backward(const Context& context, const Flow& flow, Gradient& gradient);
    // h: z -> eps, and eps -> z.
    void encode(const Context& context, Flow& flow);
    void decode(const Context& context, Flow& flow);

    // (mean, logs) of N images, given labels [N] if the model is conditional: out [N*H*W, 2C], per pixel C
    // means, then C logs. Overwrites only out.
    void predict(const Context& context, index_t N, const std::int32_t* labels, real* out) const;

  private:
    LatentShape latents(const Flow& flow) const { return {flow.N, shape_.pixels(), shape_.C, shape_.C}; }
    // The map of every image: shared, or one per image in the workspace.
    struct Map {
        const real *mean, *logs;
        GaussianLayout layout;
    };
    Map map(const Context& context, const Flow& flow) const;
    void map_backward(const Context& context, real* dmap, const Gradient& gradient);

    Shape shape_;
    bool learn_, edge_;
    index_t classes_;                                   // 0: not conditional
    Parameter weight_, bias_, logs_;                    // [2C, 3, 3, 1], [2C], [2C]
    Parameter class_weight_, class_bias_, class_logs_;  // [classes, 2C], [2C], [2C]
    real* map_ = nullptr;                               // [H*W, 2C]: mean, then logs
    double* scale_ = nullptr;                           // [2C] exp(3 logs)
    real* class_vectors_ = nullptr;                     // [classes, 2C]
};

}  // namespace glow::inline GLOW_REAL
