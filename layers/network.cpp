// Forward and backward of the coupling network. Map is the storage type of hidden maps and folded weights.
#include "layers/network.h"

#include <algorithm>
#include <type_traits>

#include "kernels/activation.h"
#include "kernels/actnorm_fold.h"
#include "kernels/actnorm_init.h"
#include "kernels/convolution.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/reduce.h"

namespace glow::inline GLOW_REAL {
namespace {

template <class Map>
class Network : public CouplingNetwork {
  public:
    // operands: what products make of maps and weights: as they are in memory, or tf32.
    Network(const Shape& shape, index_t inputs, index_t outputs, index_t w, bool edge, Scalar operands,
            Engine engine, const std::string& name, Parameters& parameters)
        : CouplingNetwork(outputs),
          H_(shape.H),
          W_(shape.W),
          inputs_(inputs),
          w_(w),
          edge_(edge),
          operands_(operands),
          engine_(engine),
          in_{inputs, edge, true, round_up(9 * (inputs + (edge ? 1 : 0)) + 1, 8)},
          taps_{outputs, false, false, round_up(9 * outputs, 8)},
          weight1_(parameters.add(name + "/conv1/weight", {w, 3, 3, inputs + (edge ? 1 : 0)}, Start::normal)),
          bias1_(parameters.add(name + "/conv1/actnorm/bias", {w}, Start::zeros)),
          logs1_(parameters.add(name + "/conv1/actnorm/logs", {w}, Start::zeros)),
          weight2_(parameters.add(name + "/conv2/weight", {w, 1, 1, w}, Start::normal)),
          bias2_(parameters.add(name + "/conv2/actnorm/bias", {w}, Start::zeros)),
          logs2_(parameters.add(name + "/conv2/actnorm/logs", {w}, Start::zeros)),
          weight3_(parameters.add(name + "/conv3/weight", {outputs, 3, 3, w + (edge ? 1 : 0)}, Start::zeros)),
          bias3_(parameters.add(name + "/conv3/bias", {outputs}, Start::zeros)),
          logs3_(parameters.add(name + "/conv3/logs", {outputs}, Start::zeros)) {}

    Folded fold(const Context& context) const override { return ahead_ ? *ahead_ : fold_now(context); }

    Folded take_folded(Arena& arena, index_t layers) const override {
        return {arena.take<Map>(layers * w_ * in_.stride), arena.take<Map>(layers * w_ * w_),
                arena.take<real>(layers * bias_step()), arena.take<Map>(layers * taps_.stride * w_),
                arena.take<double>(layers * outputs_)};
    }

    Folded folded_of(const Folded& all, index_t layer) const override {
        return {static_cast<Map*>(all.conv1) + layer * w_ * in_.stride,
                static_cast<Map*>(all.conv2) + layer * w_ * w_, all.bias2 + layer * bias_step(),
                static_cast<Map*>(all.conv3) + layer * taps_.stride * w_, all.scale3 + layer * outputs_};
    }

    void fold_ahead(const Context& context, std::span<const Ahead> levels) const override {
        std::vector<NetworkFolding<Map>> all;
        for (const Ahead& level : levels)
            all.push_back(
                static_cast<const Network&>(*level.first).folding(level.layers, level.step, level.all));
        fold_networks<Map>(context.place, all);
    }

    index_t offset() const override { return weight1_.offset(); }

    FoldedGradient zero_gradient(const Context& context) const override {
        // One block, one kernel; each part begins where a block of its own would.
        const index_t conv2 = round_up(w_ * in_.stride, kLine), bias2 = conv2 + round_up(w_ * w_, kLine),
                      conv3 = bias2 + round_up(w_, kLine), all = conv3 + taps_.stride * w_;
        real* const gradient = context.workspace.take<real>(all);
        fill(context.place, all, real{0}, gradient);
        return {gradient, gradient + conv2, gradient + bias2, gradient + conv3};
    }

    void unfold(const Context& context, const FoldedGradient& gradient) const override {
        const Place& place = context.place;
        unfold_actnorm(place, w_, 9 * in_.per_tap(), in_.stride, weight1_.value(), bias1_.value(),
                       logs1_.value(), gradient.conv1, nullptr, weight1_.gradient(), bias1_.gradient(),
                       logs1_.gradient());
        unfold_actnorm(place, w_, w_, w_, weight2_.value(), bias2_.value(), logs2_.value(), gradient.conv2,
                       gradient.bias2, weight2_.gradient(), bias2_.gradient(), logs2_.gradient());
        if (engine_ == Engine::products)
            unpack_taps(place, outputs_, w_, edge_, filters(), gradient.conv3, weight3_.gradient());
    }

    bool can_run(const Context& context, index_t N) const override {
        if (engine_ == Engine::products) return true;
        bool all = true;
        for_each_block(context, N, [&](const ImageRows& block) {
            for (const auto pass : {Convolution::Pass::forward, Convolution::Pass::data_gradient,
                                    Convolution::Pass::weight_gradient})
                all = all && context.conv->has(convolution(pass, block));
        });
        return all;
    }

    Maps take_maps(Arena& arena, index_t N) const override {
        const index_t rows = N * H_ * W_;
        return {arena.take<Map>(rows * w_), arena.take<Map>(rows * w_), arena.take<real>(rows * outputs_)};
    }

    void forward(const Context& context, const Folded& folded, index_t N, const state_t* a, index_t stride,
                 real* out) const override {
        const Arena::Scope scope(context.workspace);
        const index_t rows = std::min(block_rows(context), N * H_) * W_;
        Map* const hidden1 = context.workspace.take<Map>(rows * w_);
        Map* const hidden2 = context.workspace.take<Map>(rows * w_);
        run(context, folded, N, a, stride, hidden1, hidden2, false, out);
    }

    void forward(const Context& context, const Folded& folded, index_t N, const state_t* a, index_t stride,
                 const Maps& maps) const override {
        run(context, folded, N, a, stride, static_cast<Map*>(maps.hidden1), static_cast<Map*>(maps.hidden2),
            true, maps.out);
    }

    // out = (taps(h2 W3^T) + edge + bias) exp(3 logs), h2 = relu(h1 W2'^T + b2'), h1 = relu(columns(a, 1)
    // W1'^T)
    void backward(const Context& context, const Folded& folded, const FoldedGradient& gradient, index_t N,
                  const state_t* a, index_t stride, const Maps& maps, real* dout, real* da) const override {
        const Place& place = context.place;
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const index_t rows = N * H_ * W_;
        Map* const hidden1 = static_cast<Map*>(maps.hidden1);
        Map* const hidden2 = static_cast<Map*>(maps.hidden2);
        Map* const dhidden2 = arena.take<Map>(rows * w_);
        Map* const dhidden1 = hidden2;  // hidden2 is no longer needed by then
        double* const partial = arena.take<double>(
            std::max({column_scratch(1, w_), column_scratch(2, outputs_), column_scratch(9, outputs_)}));

        // The last convolution: dout -> dpre, then dW3 += dtaps^T h2 and dh2 = dtaps W3.
        zero_convolution_backward(place, rows, outputs_, folded.scale3, maps.out, dout, bias3_.gradient(),
                                  logs3_.gradient(), partial);
        const real* const dpre = dout;
        if (edge_)
            edge_weight_backward(place, N, H_, W_, outputs_, dpre, weight3_.gradient() + w_, w_ + 1, partial);
        for_each_block(context, N, [&](const ImageRows& block) {
            const Arena::Scope block_scope(arena);
            const index_t pixels = block.pixels(), first = block.begin * W_;
            if (engine_ == Engine::library)
                return library_backward(context, folded, block, hidden2 + first * w_, dpre + first * outputs_,
                                        dhidden2 + first * w_);
            Map* const dtaps = arena.take<Map>(pixels * taps_.stride);
            im2col(place, block, taps_, true, dpre, outputs_, dtaps);
            context.gemm({.m = taps_.stride,
                          .n = w_,
                          .k = pixels,
                          .transpose_a = true,
                          .lda = taps_.stride,
                          .ldb = w_,
                          .ldc = w_,
                          .in = operands_,
                          .out = kReal,
                          .accumulate = true},
                         dtaps, hidden2 + first * w_, gradient.conv3);
            context.gemm({.m = pixels,
                          .n = w_,
                          .k = taps_.stride,
                          .lda = taps_.stride,
                          .ldb = w_,
                          .ldc = w_,
                          .in = operands_,
                          .out = kMap},
                         dtaps, folded.conv3, dhidden2 + first * w_);
        });
        // conv 1x1: dW2' += dh2^T h1, db2' += sum dh2, dh1 = dh2 W2'.
        relu_backward(place, rows, w_, hidden2, dhidden2, gradient.bias2, partial);
        context.gemm({.m = w_,
                      .n = w_,
                      .k = rows,
                      .transpose_a = true,
                      .lda = w_,
                      .ldb = w_,
                      .ldc = w_,
                      .in = operands_,
                      .out = kReal,
                      .accumulate = true},
                     dhidden2, hidden1, gradient.conv2);
        context.gemm(
            {.m = rows, .n = w_, .k = w_, .lda = w_, .ldb = w_, .ldc = w_, .in = operands_, .out = kMap},
            dhidden2, folded.conv2, dhidden1);
        relu_backward<Map>(place, rows, w_, hidden1, dhidden1, nullptr, nullptr);
        // The first convolution: dW1' += dh1^T columns (the column of ones gives the bias), da += taps(dh1
        // W1').
        for_each_block(context, N, [&](const ImageRows& block) {
            const Arena::Scope block_scope(arena);
            const index_t pixels = block.pixels(), first = block.begin * W_;
            {
                const Arena::Scope columns_scope(arena);
                Map* const columns = arena.take<Map>(pixels * in_.stride);
                im2col(place, block, in_, false, a, stride, columns);
                context.gemm({.m = w_,
                              .n = in_.stride,
                              .k = pixels,
                              .transpose_a = true,
                              .lda = w_,
                              .ldb = in_.stride,
                              .ldc = in_.stride,
                              .in = operands_,
                              .out = kReal,
                              .accumulate = true},
                             dhidden1 + first * w_, columns, gradient.conv1);
            }
            real* const dcolumns = arena.take<real>(pixels * in_.stride);
            context.gemm({.m = pixels,
                          .n = in_.stride,
                          .k = w_,
                          .lda = w_,
                          .ldb = in_.stride,
                          .ldc = in_.stride,
                          .in = operands_,
                          .out = kReal},
                         dhidden1 + first * w_, folded.conv1, dcolumns);
            shift_add(place, block, in_, true, dcolumns, da, stride);
        });
    }

    void initialise(const Context& context, index_t N, index_t tile, const state_t* a,
                    index_t stride) override {
        const Arena::Scope scope(context.workspace);
        double* const moments = context.workspace.take<double>(2 * w_);
        const double rows = context.total(static_cast<double>(N * H_ * W_));
        for (const bool second : {false, true}) {
            const Parameter& bias = second ? bias2_ : bias1_;
            const Parameter& logs = second ? logs2_ : logs1_;
            fill(context.place, w_, real{0}, bias.value());
            fill(context.place, w_, real{0}, logs.value());
            fill(context.place, 2 * w_, 0.0, moments);
            for (index_t n = 0; n < N; n = next_block(context.dry(), n, tile, N))
                add_raw_moments(context, std::min(tile, N - n), a + n * H_ * W_ * stride, stride, second,
                                moments);
            context.sum_over_processes(2 * w_, moments);
            actnorm_from_moments(context.place, rows, w_, moments, bias.value(), logs.value());
        }
    }

  private:
    static constexpr Scalar kMap = scalar_of<Map>;  // of hidden maps and folded weights in memory
    static constexpr Scalar kReal = scalar_of<real>;

    static constexpr index_t kLine = static_cast<index_t>(kAlignment / sizeof(real));

    // From a layer's second bias to the next one's, where many are folded together: products want it aligned.
    index_t bias_step() const { return round_up(w_, kLine); }

    // The order of the last convolution's weights in `Folded`.
    TapOrder filters() const {
        return engine_ == Engine::library ? TapOrder::outputs_first : TapOrder::taps_first;
    }

    // Image rows of a block, of which im2col and tap buffers are made. The library takes whole images.
    index_t block_rows(const Context& context) const {
        const index_t rows = std::max<index_t>(1, context.blocking.block_pixels / W_);
        return engine_ == Engine::library ? std::max<index_t>(1, rows / H_) * H_ : rows;
    }

    Convolution convolution(Convolution::Pass pass, const ImageRows& block) const {
        const bool wide = pass != Convolution::Pass::data_gradient;
        return {.pass = pass,
                .N = (block.end - block.begin) / H_,
                .H = H_,
                .W = W_,
                .in = w_,
                .out = outputs_,
                .operands = operands_,
                .result = wide ? kReal : kMap};
    }

    // The last convolution's gradients: dh2 = and dW3 += of one block.
    void library_backward(const Context& context, const Folded& folded, const ImageRows& block,
                          const Map* hidden2, const real* dpre, Map* dhidden2) const {
        Arena& arena = context.workspace;
        const void* dy = dpre;
        if constexpr (!std::is_same_v<Map, real>) {
            Map* const narrow = arena.take<Map>(block.pixels() * outputs_);
            cast(context.place, block.pixels() * outputs_, dpre, narrow);
            dy = narrow;
        }
        real* const dfilters = arena.take<real>(9 * outputs_ * w_);
        context.convolve(convolution(Convolution::Pass::weight_gradient, block), hidden2, dy, dfilters);
        unpack_taps(context.place, outputs_, w_, edge_, filters(), dfilters, weight3_.gradient());
        context.convolve(convolution(Convolution::Pass::data_gradient, block), dy, folded.conv3, dhidden2);
    }

    template <class F>
    void for_each_block(const Context& context, index_t N, F f) const {
        const index_t rows = block_rows(context);
        for (index_t begin = 0; begin < N * H_; begin = next_block(context.dry(), begin, rows, N * H_))
            f(ImageRows{H_, W_, begin, std::min(begin + rows, N * H_)});
    }

    Folded fold_now(const Context& context) const {
        const Folded folded = take_folded(context.workspace, 1);
        const NetworkFolding<Map> folding = this->folding(1, 0, folded);
        fold_networks<Map>(context.place, {&folding, 1});
        return folded;
    }

    // Of this network and those that follow, whose parameters lie `step` elements apart.
    NetworkFolding<Map> folding(index_t networks, index_t step, const Folded& to) const {
        return {networks,
                step,
                w_,
                9 * in_.per_tap(),
                in_.stride,
                outputs_,
                taps_.stride,
                edge_,
                filters(),
                weight1_.value(),
                bias1_.value(),
                logs1_.value(),
                weight2_.value(),
                bias2_.value(),
                logs2_.value(),
                weight3_.value(),
                logs3_.value(),
                static_cast<Map*>(to.conv1),
                static_cast<Map*>(to.conv2),
                static_cast<Map*>(to.conv3),
                to.bias2,
                bias_step(),
                to.scale3};
    }

    // h1 = relu(columns(a, 1) W1'^T) of one block; without `relu` and in `real`, for statistics.
    template <class Out>
    void conv1(const Context& context, const Folded& folded, const ImageRows& block, const state_t* a,
               index_t stride, Epilogue epilogue, Out* hidden1) const {
        const Arena::Scope scope(context.workspace);
        Map* const columns = context.workspace.take<Map>(block.pixels() * in_.stride);
        im2col(context.place, block, in_, false, a, stride, columns);
        context.gemm({.m = block.pixels(),
                      .n = w_,
                      .k = in_.stride,
                      .transpose_b = true,
                      .lda = in_.stride,
                      .ldb = in_.stride,
                      .ldc = w_,
                      .in = operands_,
                      .out = scalar_of<Out>,
                      .epilogue = epilogue},
                     columns, folded.conv1, hidden1);
    }

    template <class Out>
    void conv2(const Context& context, const Folded& folded, index_t pixels, const Map* hidden1,
               Epilogue epilogue, Out* hidden2) const {
        context.gemm({.m = pixels,
                      .n = w_,
                      .k = w_,
                      .transpose_b = true,
                      .lda = w_,
                      .ldb = w_,
                      .ldc = w_,
                      .in = operands_,
                      .out = scalar_of<Out>,
                      .epilogue = epilogue},
                     hidden1, folded.conv2, hidden2, folded.bias2);
    }

    // The whole forward, block by block; `keep`: hidden maps of all N images, else of one block.
    void run(const Context& context, const Folded& folded, index_t N, const state_t* a, index_t stride,
             Map* hidden1, Map* hidden2, bool keep, real* out) const {
        if (engine_ == Engine::products) fill(context.place, N * H_ * W_ * outputs_, real{0}, out);
        for_each_block(context, N, [&](const ImageRows& block) {
            const Arena::Scope scope(context.workspace);
            const index_t pixels = block.pixels();
            Map* const h1 = keep ? hidden1 + block.begin * W_ * w_ : hidden1;
            Map* const h2 = keep ? hidden2 + block.begin * W_ * w_ : hidden2;
            conv1(context, folded, block, a, stride, Epilogue::relu, h1);
            conv2(context, folded, pixels, h1, Epilogue::bias_relu, h2);
            if (engine_ == Engine::library)
                return context.convolve(convolution(Convolution::Pass::forward, block), h2, folded.conv3,
                                        out + block.begin * W_ * outputs_);
            real* const taps = context.workspace.take<real>(pixels * taps_.stride);
            context.gemm({.m = pixels,
                          .n = taps_.stride,
                          .k = w_,
                          .transpose_b = true,
                          .lda = w_,
                          .ldb = w_,
                          .ldc = taps_.stride,
                          .in = operands_,
                          .out = kReal},
                         h2, folded.conv3, taps);
            shift_add(context.place, block, taps_, false, taps, out, outputs_);
        });
        zero_convolution_finish(context.place, {H_, W_, 0, N * H_}, outputs_,
                                edge_ ? weight3_.value() + w_ : nullptr, w_ + 1, bias3_.value(),
                                folded.scale3, out);
    }

    // moments += sums of the output of conv1 (or of conv2, behind the finished conv1) before its actnorm.
    void add_raw_moments(const Context& context, index_t N, const state_t* a, index_t stride, bool second,
                         double* moments) const {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const Folded folded = fold_now(context);
        double* const partial = arena.take<double>(column_scratch(2, w_));
        for_each_block(context, N, [&](const ImageRows& block) {
            const Arena::Scope block_scope(arena);
            real* const raw = arena.take<real>(block.pixels() * w_);
            if (second) {
                Map* const hidden1 = arena.take<Map>(block.pixels() * w_);
                conv1(context, folded, block, a, stride, Epilogue::relu, hidden1);
                conv2(context, folded, block.pixels(), hidden1, Epilogue::none, raw);
            } else {
                conv1(context, folded, block, a, stride, Epilogue::none, raw);
            }
            add_moments(context.place, block.pixels(), w_, raw, w_, moments, partial);
        });
    }

    index_t H_, W_, inputs_, w_;
    bool edge_;
    Scalar operands_;
    Engine engine_;
    Columns in_, taps_;
    Parameter weight1_, bias1_, logs1_, weight2_, bias2_, logs2_, weight3_, bias3_, logs3_;
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
        throw InputError("--precision " + to_string(precision) + ": networks in double have no other");
    return std::make_unique<Network<real>>(shape, inputs, outputs, w, edge, scalar_of<real>, engine, name,
                                           parameters);
}

}  // namespace glow::inline GLOW_REAL
