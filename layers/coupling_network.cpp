// Map is the storage type of the hidden maps and the folded weights.
#include "layers/coupling_network.h"

#include <algorithm>
#include <type_traits>

#include "kernels/activation.h"
#include "kernels/actnorm_init.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/reduce.h"

namespace glow::inline GLOW_REAL {

CouplingNetwork::CouplingNetwork(const Shape& shape, index_t inputs, index_t outputs, index_t w, bool edge,
                                 Scalar operands, Engine engine, const std::string& name, Parameters& all)
    : H_(shape.H),
      W_(shape.W),
      w_(w),
      edge_(edge),
      operands_(operands),
      engine_(engine),
      first_{NarrowInputConv::layout(inputs, edge), w, operands},
      last_{NarrowOutputConv::layout(outputs), w, operands},
      parameters_{all.add(name + "/conv1/weight", {w, 3, 3, inputs + (edge ? 1 : 0)}, Init::normal),
                  all.add(name + "/conv1/actnorm/bias", {w}, Init::zeros),
                  all.add(name + "/conv1/actnorm/logs", {w}, Init::zeros),
                  all.add(name + "/conv2/weight", {w, 1, 1, w}, Init::normal),
                  all.add(name + "/conv2/actnorm/bias", {w}, Init::zeros),
                  all.add(name + "/conv2/actnorm/logs", {w}, Init::zeros),
                  all.add(name + "/conv3/weight", {outputs, 3, 3, w + (edge ? 1 : 0)}, Init::zeros),
                  all.add(name + "/conv3/bias", {outputs}, Init::zeros),
                  all.add(name + "/conv3/logs", {outputs}, Init::zeros)},
      layout_{.w = w,
              .K1 = 9 * first_.columns.per_tap(),
              .stride1 = first_.columns.stride,
              .outputs = outputs,
              .rows3 = last_.columns.stride,
              .edge = edge,
              .order = engine == Engine::library ? TapOrder::outputs_first : TapOrder::taps_first,
              .bf16 = operands == Scalar::bf16} {}

FoldedNetwork CouplingNetwork::fold_into_scratch(const Context& context) const {
    const FoldedLevel alone{&parameters_, layout_, 1, 0, take_folded(context.workspace, layout_, 1)};
    fold(context, {&alone, 1});
    return alone.all;
}

namespace {

template <class Map>
class Network : public CouplingNetwork {
  public:
    using CouplingNetwork::CouplingNetwork;

    bool can_run(const Context& context, index_t N) const override {
        if (engine_ == Engine::products) return true;
        bool all = true;
        each_block(context, N, [&](const ImageRows& block) {
            for (const auto pass : {Convolution::Pass::forward, Convolution::Pass::data_gradient,
                                    Convolution::Pass::weight_gradient})
                all = all && context.conv->has(convolution(pass, block));
        });
        return all;
    }

    Maps take_maps(Arena& arena, index_t N) const override {
        const index_t rows = N * H_ * W_;
        return {arena.take<Map>(rows * w_), arena.take<Map>(rows * w_), arena.take<real>(rows * outputs())};
    }

    void forward(const Context& context, const FoldedNetwork& folded, index_t N, const state_t* a,
                 index_t stride, real* out) const override {
        const Arena::Scope scope(context.workspace);
        index_t rows = 0;  // rows of the largest block, the first one
        each_block(context, N, [&](const ImageRows& block) { rows = std::max(rows, block.pixels()); });
        Map* const hidden1 = context.workspace.take<Map>(rows * w_);
        Map* const hidden2 = context.workspace.take<Map>(rows * w_);
        run(context, folded, N, a, stride, hidden1, hidden2, false, out);
    }

    void forward(const Context& context, const FoldedNetwork& folded, index_t N, const state_t* a,
                 index_t stride, const Maps& maps) const override {
        run(context, folded, N, a, stride, static_cast<Map*>(maps.hidden1), static_cast<Map*>(maps.hidden2),
            true, maps.out);
    }

    // out = (col2im(h2 W3^T) + edge + bias) exp(3 logs), h2 = relu(h1 W2'^T + b2'), h1 = relu(columns(a) W1'^T)
    void backward(const Context& context, const FoldedNetwork& folded, const FoldedGradient& gradient,
                  index_t N, const state_t* a, index_t stride, const Maps& maps, real* dout, real* da,
                  const ParameterGradients& gradients) const override {
        const Exec& exec = context.exec;
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const index_t rows = N * H_ * W_, C = outputs();
        Map* const hidden1 = static_cast<Map*>(maps.hidden1);
        Map* const hidden2 = static_cast<Map*>(maps.hidden2);
        Map* const dhidden2 = arena.take<Map>(rows * w_);
        Map* const dhidden1 = hidden2;  // hidden2 is no longer needed at that point
        double* const partial =
            arena.take<double>(std::max({column_scratch(1, w_), column_scratch(2, C), column_scratch(9, C)}));
        const NetworkParameters& p = parameters_;

        // The last convolution: dout -> dpre, then dW3 and dh2.
        zero_convolution_backward(exec, rows, C, folded.scale3, maps.out, dout, p.bias3.gradient(gradients),
                                  p.logs3.gradient(gradients), partial);
        const real* const dpre = dout;
        if (edge_)
            edge_weight_backward(exec, N, H_, W_, C, dpre, p.weight3.gradient(gradients) + w_, w_ + 1,
                                 partial);
        each_block(context, N, [&](const ImageRows& block) {
            const Map* const h2 = hidden2 + block.begin * W_ * w_;
            Map* const dh2 = dhidden2 + block.begin * W_ * w_;
            if (engine_ == Engine::library)
                library_backward(context, folded, block, h2, dpre + block.begin * W_ * C, dh2, gradients);
            else
                last_.backward(context, block, h2, static_cast<const Map*>(folded.conv3), dpre,
                               gradient.conv3, dh2);
        });
        // conv 1x1: dW2' += dh2^T h1, db2' += sum dh2, dh1 = dh2 W2'.
        relu_backward(exec, rows, w_, hidden2, dhidden2, gradient.bias2, partial);
        context.gemm(gemm_tn(w_, w_, rows, operands_, scalar_of<real>).accumulating(), dhidden2, hidden1,
                     gradient.conv2);
        context.gemm(gemm_nn(rows, w_, w_, operands_, scalar_of<Map>), dhidden2, folded.conv2, dhidden1);
        relu_backward<Map>(exec, rows, w_, hidden1, dhidden1, nullptr, nullptr);
        // The first convolution: dW1' (its column of ones is the bias) and da.
        each_block(context, N, [&](const ImageRows& block) {
            first_.backward(context, block, a, stride, static_cast<const Map*>(folded.conv1),
                            dhidden1 + block.begin * W_ * w_, gradient.conv1, da);
        });
    }

    void initialize(const Context& context, index_t N, index_t tile, const state_t* a,
                    index_t stride) override {
        const Arena::Scope scope(context.workspace);
        double* const moments = context.workspace.take<double>(2 * w_);
        const double rows = context.total(static_cast<double>(N * H_ * W_));
        for (const bool second : {false, true}) {
            const Parameter& bias = second ? parameters_.bias2 : parameters_.bias1;
            const Parameter& logs = second ? parameters_.logs2 : parameters_.logs1;
            fill(context.exec, w_, real{0}, bias.value());
            fill(context.exec, w_, real{0}, logs.value());
            fill(context.exec, 2 * w_, 0.0, moments);
            for (index_t n = 0; n < N; n = next_block(context.skips_blocks(), n, tile, N))
                add_raw_moments(context, std::min(tile, N - n), a + n * H_ * W_ * stride, stride, second,
                                moments);
            context.sum_over_processes(2 * w_, moments);
            actnorm_from_moments(context.exec, rows, w_, moments, bias.value(), logs.value());
        }
    }

  private:
    // Library convolutions work on whole images.
    template <class F>
    void each_block(const Context& context, index_t N, F f) const {
        for_each_block(context, H_, W_, N, f, engine_ == Engine::library);
    }

    Convolution convolution(Convolution::Pass pass, const ImageRows& block) const {
        const bool wide = pass == Convolution::Pass::data_gradient;
        return {.pass = pass,
                .N = (block.end - block.begin) / H_,
                .H = H_,
                .W = W_,
                .in = w_,
                .out = outputs(),
                .operands = operands_,
                .result = wide ? scalar_of<Map> : scalar_of<real>};
    }

    // The last convolution's gradients for one block: dh2 = and dW3 +=.
    void library_backward(const Context& context, const FoldedNetwork& folded, const ImageRows& block,
                          const Map* hidden2, const real* dpre, Map* dhidden2,
                          const ParameterGradients& gradients) const {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const void* dy = dpre;
        if constexpr (!std::is_same_v<Map, real>) {
            Map* const rounded = arena.take<Map>(block.pixels() * outputs());
            cast(context.exec, block.pixels() * outputs(), dpre, rounded);
            dy = rounded;
        }
        real* const dfilters = arena.take<real>(9 * outputs() * w_);
        context.convolve(convolution(Convolution::Pass::weight_gradient, block), hidden2, dy, dfilters);
        unpack_taps(context.exec, outputs(), w_, edge_, layout_.order, dfilters,
                    parameters_.weight3.gradient(gradients));
        context.convolve(convolution(Convolution::Pass::data_gradient, block), dy, folded.conv3, dhidden2);
    }

    // h2 = epilogue(h1 W2'^T + b2').
    template <class Out>
    void conv2(const Context& context, const FoldedNetwork& folded, index_t pixels, const Map* hidden1,
               Epilogue epilogue, Out* hidden2) const {
        context.gemm(gemm_nt(pixels, w_, w_, operands_, scalar_of<Out>).with(epilogue), hidden1, folded.conv2,
                     hidden2, folded.bias2);
    }

    // The complete forward, block by block. `keep`: store hidden maps of all N images, otherwise of one
    // block.
    void run(const Context& context, const FoldedNetwork& folded, index_t N, const state_t* a, index_t stride,
             Map* hidden1, Map* hidden2, bool keep, real* out) const {
        const index_t C = outputs();
        if (engine_ == Engine::products) fill(context.exec, N * H_ * W_ * C, real{0}, out);
        each_block(context, N, [&](const ImageRows& block) {
            Map* const h1 = keep ? hidden1 + block.begin * W_ * w_ : hidden1;
            Map* const h2 = keep ? hidden2 + block.begin * W_ * w_ : hidden2;
            first_.forward(context, block, a, stride, static_cast<const Map*>(folded.conv1), Epilogue::relu,
                           h1);
            conv2(context, folded, block.pixels(), h1, Epilogue::bias_relu, h2);
            if (engine_ == Engine::library)
                context.convolve(convolution(Convolution::Pass::forward, block), h2, folded.conv3,
                                 out + block.begin * W_ * C);
            else
                last_.forward(context, block, h2, static_cast<const Map*>(folded.conv3), out);
        });
        zero_convolution_finish(context.exec, {H_, W_, 0, N * H_}, C,
                                edge_ ? parameters_.weight3.value() + w_ : nullptr, w_ + 1,
                                parameters_.bias3.value(), folded.scale3, out);
    }

    // moments += sums of the output of conv1 (`second`: of conv2, after the finished conv1) before its
    // actnorm.
    void add_raw_moments(const Context& context, index_t N, const state_t* a, index_t stride, bool second,
                         double* moments) const {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const FoldedNetwork folded = fold_into_scratch(context);
        const Map* const W1 = static_cast<const Map*>(folded.conv1);
        double* const partial = arena.take<double>(column_scratch(2, w_));
        each_block(context, N, [&](const ImageRows& block) {
            const Arena::Scope block_scope(arena);
            real* const raw = arena.take<real>(block.pixels() * w_);
            if (second) {
                Map* const hidden1 = arena.take<Map>(block.pixels() * w_);
                first_.forward(context, block, a, stride, W1, Epilogue::relu, hidden1);
                conv2(context, folded, block.pixels(), hidden1, Epilogue::none, raw);
            } else {
                first_.forward(context, block, a, stride, W1, Epilogue::none, raw);
            }
            add_moments(context.exec, block.pixels(), w_, raw, w_, moments, partial);
        });
    }
};

}  // namespace

double network_multiplies(const ModelConfig& config, const Shape& shape) {
    const double w = static_cast<double>(config.width), edge = config.edge_bias ? 1 : 0;
    const double in = static_cast<double>(shape.C / 2);
    const double out = static_cast<double>(config.coupling == CouplingKind::affine ? shape.C : shape.C / 2);
    return 9 * (in + edge) * w + w * w + 9 * w * out;
}

std::unique_ptr<CouplingNetwork> make_coupling_network(const Shape& shape, index_t inputs, index_t outputs,
                                                       index_t w, bool edge, Precision precision,
                                                       Engine engine, const std::string& name,
                                                       Parameters& parameters) {
#if !defined(GLOW_REAL_DOUBLE)
    if (precision == Precision::bf16)
        return std::make_unique<Network<bfloat16>>(shape, inputs, outputs, w, edge, Scalar::bf16, engine,
                                                   name, parameters);
    if (precision == Precision::tf32)
        return std::make_unique<Network<real>>(shape, inputs, outputs, w, edge, Scalar::tf32, engine, name,
                                               parameters);
#endif
    if (precision != Precision::fp32)
        throw InputError("--precision " + to_string(precision) + ": double networks have no other precision");
    return std::make_unique<Network<real>>(shape, inputs, outputs, w, edge, scalar_of<real>, engine, name,
                                           parameters);
}

}  // namespace glow::inline GLOW_REAL
