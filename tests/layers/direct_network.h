// Reference coupling network, pixel by pixel, independent of the layers' matrix products.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/layers/fixture.h"

namespace glow::inline GLOW_REAL {

inline const real* tensor_values(const Parameters& parameters, const std::string& name) {
    for (const Tensor& tensor : parameters.tensors())
        if (tensor.name == name) return parameters.values() + tensor.offset;
    ADD_FAILURE() << "no tensor " << name;
    return nullptr;
}

// y [N*H*W, out]: kernel x kernel convolution, zero-padded, of the first `in` channels of x [N*H*W] with
// pixel stride `stride`; the edge channel is 1 on the padding and 0 inside.
inline std::vector<double> direct_convolution(const Shape& shape, index_t N, index_t kernel, bool edge,
                                              index_t in, index_t out, const double* x, index_t stride,
                                              const real* weight) {
    const auto& [H, W, C] = shape;
    const index_t depth = in + (edge ? 1 : 0), reach = kernel / 2;
    std::vector<double> y(N * H * W * out, 0.0);
    for (index_t n = 0; n < N; ++n)
        for (index_t r = 0; r < H; ++r)
            for (index_t s = 0; s < W; ++s)
                for (index_t kh = 0; kh < kernel; ++kh)
                    for (index_t kw = 0; kw < kernel; ++kw) {
                        const index_t p = r + kh - reach, q = s + kw - reach;
                        const bool inside = p >= 0 && p < H && q >= 0 && q < W;
                        for (index_t o = 0; o < out; ++o) {
                            const real* const w = weight + ((o * kernel + kh) * kernel + kw) * depth;
                            double sum = !inside && edge ? w[in] : 0.0;
                            for (index_t i = 0; inside && i < in; ++i)
                                sum += w[i] * x[((n * H + p) * W + q) * stride + i];
                            y[((n * H + r) * W + s) * out + o] += sum;
                        }
                    }
    return y;
}

struct DirectNetwork {
    std::vector<double> normal1, normal2;  // [N*H*W, w] after the hidden actnorms, before ReLU
    std::vector<double> out;               // [N*H*W, outputs]
};

// name: "level0/step0/coupling". x: [N*H*W, C] state whose first C/2 channels are the input.
inline DirectNetwork direct_network(const Parameters& parameters, const std::string& name, const Shape& shape,
                                    index_t N, index_t w, index_t outputs, bool edge, const double* x) {
    const auto value = [&](const std::string& tensor) { return tensor_values(parameters, name + tensor); };
    const auto normalize = [&](std::vector<double>& y, const std::string& actnorm) {
        const real* const bias = value(actnorm + "/bias");
        const real* const logs = value(actnorm + "/logs");
        for (std::size_t i = 0; i < y.size(); ++i) y[i] = (y[i] + bias[i % w]) * std::exp(3.0 * logs[i % w]);
    };
    const auto relu = [](std::vector<double> y) {
        for (double& v : y) v = std::max(v, 0.0);
        return y;
    };
    DirectNetwork result;
    result.normal1 =
        direct_convolution(shape, N, 3, edge, shape.C / 2, w, x, shape.C, value("/conv1/weight"));
    normalize(result.normal1, "/conv1/actnorm");
    result.normal2 =
        direct_convolution(shape, N, 1, false, w, w, relu(result.normal1).data(), w, value("/conv2/weight"));
    normalize(result.normal2, "/conv2/actnorm");
    result.out = direct_convolution(shape, N, 3, edge, w, outputs, relu(result.normal2).data(), w,
                                    value("/conv3/weight"));
    const real* const bias = value("/conv3/bias");
    const real* const logs = value("/conv3/logs");
    for (std::size_t i = 0; i < result.out.size(); ++i)
        result.out[i] = (result.out[i] + bias[i % outputs]) * std::exp(3.0 * logs[i % outputs]);
    return result;
}

}  // namespace glow::inline GLOW_REAL
