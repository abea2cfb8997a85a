// Sums over images run in image order for reproducible bits; they have few terms.
#include "kernels/class_conditioning.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"

namespace glow::inline GLOW_REAL {
namespace {

struct Vectors {
    static constexpr const char* name = "class_vectors";
    index_t J;
    const real* weight;
    const real* bias;
    const real* logs;
    real* vectors;
    GLOW_HD void operator()(index_t k, index_t j) const {
        const double sum = static_cast<double>(weight[k * J + j]) + bias[j];
        vectors[k * J + j] = static_cast<real>(sum * scale_of(logs[j]));
    }
};

struct Maps {
    static constexpr const char* name = "class_maps";
    index_t pixels, J;
    const real* map;
    const real* vectors;
    const std::int32_t* labels;
    real* maps;
    GLOW_HD void operator()(index_t n, index_t p, index_t j) const {
        maps[(n * pixels + p) * J + j] = map[p * J + j] + vectors[labels[n] * J + j];
    }
};

struct SumImages {
    static constexpr const char* name = "class_maps_sum_images";
    index_t N, size;
    const real* dmaps;
    real* dmap;
    GLOW_HD void operator()(index_t i) const {
        double sum = 0;
        for (index_t n = 0; n < N; ++n) sum += dmaps[n * size + i];
        dmap[i] = static_cast<real>(sum);
    }
};

struct SumPixels {
    static constexpr const char* name = "class_maps_sum_pixels";
    index_t pixels, J;
    const real* dmaps;
    double* image_sums;
    GLOW_HD void operator()(index_t n, index_t j) const {
        double sum = 0;
        for (index_t p = 0; p < pixels; ++p) sum += dmaps[(n * pixels + p) * J + j];
        image_sums[n * J + j] = sum;
    }
};

// d / d(weight + bias) = scale * d / d vector.
struct VectorsBackward {
    static constexpr const char* name = "class_vectors_backward";
    index_t N, J;
    const std::int32_t* labels;
    const double* image_sums;
    const real* logs;
    real* dweight;
    GLOW_HD void operator()(index_t k, index_t j) const {
        double sum = 0;
        for (index_t n = 0; n < N; ++n) sum += labels[n] == k ? image_sums[n * J + j] : 0.0;
        dweight[k * J + j] += static_cast<real>(sum * scale_of(logs[j]));
    }
};
struct VectorsBackwardShared {
    static constexpr const char* name = "class_vectors_backward_shared";
    index_t N, J;
    const std::int32_t* labels;
    const double* image_sums;
    const real* vectors;
    const real* logs;
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t j) const {
        double sum = 0, product = 0;
        for (index_t n = 0; n < N; ++n) {
            const double d = image_sums[n * J + j];
            sum += d;
            product += d * vectors[labels[n] * J + j];
        }
        dbias[j] += static_cast<real>(sum * scale_of(logs[j]));
        dlogs[j] += static_cast<real>(kLogsFactor * product);
    }
};

struct SpatialMean {
    static constexpr const char* name = "spatial_mean";
    index_t pixels, C;
    const state_t* z;
    double* mean;
    GLOW_HD void operator()(index_t n, index_t c) const {
        double sum = 0;
        for (index_t p = 0; p < pixels; ++p) sum += z[(n * pixels + p) * C + c];
        mean[n * C + c] = sum / static_cast<double>(pixels);
    }
};

struct Logits {
    static constexpr const char* name = "class_logits";
    index_t C, classes;
    const double* mean;
    LinearLayer layer;
    double* logits;
    GLOW_HD void operator()(index_t n, index_t k) const {
        double sum = layer.bias[k];
        for (index_t c = 0; c < C; ++c) sum += mean[n * C + c] * layer.weight[c * classes + k];
        logits[n * classes + k] = sum * scale_of(layer.logs[k]);
    }
};

struct CrossEntropy {
    static constexpr const char* name = "cross_entropy";
    index_t classes;
    const std::int32_t* labels;
    double* logits;
    double* bits;
    double* error;
    GLOW_HD void operator()(index_t n) const {
        double* const row = logits + n * classes;
        const index_t label = labels[n];
        double largest = row[0];
        bool wrong = false;
        for (index_t k = 0; k < classes; ++k) {
            largest = row[k] > largest ? row[k] : largest;
            wrong = wrong || (k != label && !(row[k] < row[label]));
        }
        const double log_numerator = row[label] - largest;
        double sum = 0;
        for (index_t k = 0; k < classes; ++k) {
            row[k] = exp_of(row[k] - largest);
            sum += row[k];
        }
        for (index_t k = 0; k < classes; ++k) row[k] /= sum;
        bits[n] = (log_of(sum) - log_numerator) * kLog2E;
        error[n] = wrong ? 1.0 : 0.0;
    }
};

// d bits / d logit_k = (p_k - [k = label]) / ln 2; logit = pre * scale.
struct LogitsBackward {
    static constexpr const char* name = "class_logits_backward";
    index_t classes;
    const std::int32_t* labels;
    const double* probabilities;
    const real* logs;
    double dbits;
    double* dpre;
    GLOW_HD void operator()(index_t n, index_t k) const {
        const double p = probabilities[n * classes + k];
        const double dlogit = dbits * kLog2E * (labels[n] == k ? p - 1.0 : p);
        dpre[n * classes + k] = dlogit * scale_of(logs[k]);
    }
};

struct WeightBackward {
    static constexpr const char* name = "classifier_backward_weight";
    index_t N, C, classes;
    const double* mean;
    const double* dpre;
    real* dweight;
    GLOW_HD void operator()(index_t c, index_t k) const {
        double sum = 0;
        for (index_t n = 0; n < N; ++n) sum += mean[n * C + c] * dpre[n * classes + k];
        dweight[c * classes + k] += static_cast<real>(sum);
    }
};

// dlogs = 3 sum dlogit * logit = 3 sum dpre * pre, pre = mean weight + bias.
struct BiasBackward {
    static constexpr const char* name = "classifier_backward_bias";
    index_t N, C, classes;
    const double* mean;
    const double* dpre;
    LinearLayer layer;
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t k) const {
        double sum = 0, product = 0;
        for (index_t n = 0; n < N; ++n) {
            double pre = layer.bias[k];
            for (index_t c = 0; c < C; ++c) pre += mean[n * C + c] * layer.weight[c * classes + k];
            sum += dpre[n * classes + k];
            product += dpre[n * classes + k] * pre;
        }
        dbias[k] += static_cast<real>(sum);
        dlogs[k] += static_cast<real>(kLogsFactor * product);
    }
};

struct LatentBackward {
    static constexpr const char* name = "classifier_backward_latent";
    index_t pixels, C, classes;
    const real* weight;
    const double* dpre;
    real* dz;
    GLOW_HD void operator()(index_t n, index_t c) const {
        double sum = 0;
        for (index_t k = 0; k < classes; ++k) sum += weight[c * classes + k] * dpre[n * classes + k];
        const real d = static_cast<real>(sum / static_cast<double>(pixels));
        for (index_t p = 0; p < pixels; ++p) dz[(n * pixels + p) * C + c] += d;
    }
};

}  // namespace

void class_vectors(const Exec& exec, index_t classes, index_t J, const real* weight, const real* bias,
                   const real* logs, real* vectors) {
    for_each_row_channel(exec, classes, J, Vectors{J, weight, bias, logs, vectors});
}

void class_maps(const Exec& exec, index_t N, index_t pixels, index_t J, const real* map, const real* vectors,
                const std::int32_t* labels, real* maps) {
    for_each_group(exec, N, pixels, J, Maps{pixels, J, map, vectors, labels, maps});
}

void class_maps_backward(const Exec& exec, index_t N, index_t pixels, index_t J, const real* dmaps,
                         real* dmap, double* image_sums) {
    for_each(exec, pixels * J, SumImages{N, pixels * J, dmaps, dmap}, N);
    for_each_row_channel(exec, N, J, SumPixels{pixels, J, dmaps, image_sums});
}

void class_vectors_backward(const Exec& exec, const ClassSums& sums, const real* vectors, const real* logs,
                            const LinearGradient& gradient) {
    const auto& [N, classes, J, labels, image_sums] = sums;
    for_each_row_channel(exec, classes, J, VectorsBackward{N, J, labels, image_sums, logs, gradient.weight});
    for_each(exec, J,
             VectorsBackwardShared{N, J, labels, image_sums, vectors, logs, gradient.bias, gradient.logs}, N);
}

void spatial_mean(const Exec& exec, index_t N, index_t pixels, index_t C, const state_t* z, double* mean) {
    for_each_row_channel(exec, N, C, SpatialMean{pixels, C, z, mean});
}

void class_logits(const Exec& exec, index_t N, index_t C, index_t classes, const double* mean,
                  const LinearLayer& layer, double* logits) {
    for_each_row_channel(exec, N, classes, Logits{C, classes, mean, layer, logits});
}

void cross_entropy(const Exec& exec, index_t N, index_t classes, const std::int32_t* labels, double* logits,
                   double* bits, double* error) {
    for_each(exec, N, CrossEntropy{classes, labels, logits, bits, error}, classes);
}

void classifier_backward(const Exec& exec, const ClassifierForward& forward, const LinearLayer& layer,
                         double dbits, double* dpre, const LinearGradient& gradient, real* dz) {
    const auto& [N, pixels, C, classes, labels, mean, probabilities] = forward;
    for_each_row_channel(exec, N, classes,
                         LogitsBackward{classes, labels, probabilities, layer.logs, dbits, dpre});
    for_each_row_channel(exec, C, classes, WeightBackward{N, C, classes, mean, dpre, gradient.weight});
    for_each(exec, classes, BiasBackward{N, C, classes, mean, dpre, layer, gradient.bias, gradient.logs},
             N * C);
    for_each_row_channel(exec, N, C, LatentBackward{pixels, C, classes, layer.weight, dpre, dz});
}

}  // namespace glow::inline GLOW_REAL
