// Template parameter Map: storage type of the hidden maps and the folded weights.
#include "layers/coupling_network.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include "kernels/activation.h"
#include "kernels/actnorm_init.h"
#include "kernels/coupling.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/reduce.h"
#include "layers/coupling_by_image.h"
#include "layers/library_conv3x3.h"

namespace glow::inline GLOW_REAL {

CouplingNetwork::CouplingNetwork(const NetworkShape& shape, std::optional<CouplingForm> form, Scalar operands,
                                 Engine engine, const std::string& name, Parameters& all)
    : H_(shape.H),
      W_(shape.W),
      w_(shape.width),
      form_(form),
      edge_(shape.edge),
      operands_(operands),
      engine_(engine),
      first_{NarrowInputConv::layout(shape.inputs, edge_), w_, operands},
      last_{NarrowOutputConv::layout(shape.outputs), w_, operands},
      parameters_{all.add(name + "/conv1/weight", {w_, 3, 3, shape.inputs + (edge_ ? 1 : 0)}, Init::normal),
                  all.add(name + "/conv1/actnorm/bias", {w_}, Init::zeros),
                  all.add(name + "/conv1/actnorm/logs", {w_}, Init::zeros),
                  all.add(name + "/conv2/weight", {w_, 1, 1, w_}, Init::normal),
                  all.add(name + "/conv2/actnorm/bias", {w_}, Init::zeros),
                  all.add(name + "/conv2/actnorm/logs", {w_}, Init::zeros),
                  all.add(name + "/conv3/weight", {outputs(), 3, 3, w_ + (edge_ ? 1 : 0)}, Init::zeros),
                  all.add(name + "/conv3/bias", {outputs()}, Init::zeros),
                  all.add(name + "/conv3/logs", {outputs()}, Init::zeros)},
      layout_{.w = w_,
              .K1 = 9 * first_.columns.per_tap(),
              .stride1 = first_.columns.stride,
              .outputs = outputs(),
              .rows3 = last_.columns.stride,
              .edge = edge_,
              .order = engine == Engine::library ? TapOrder::outputs_first : TapOrder::taps_first,
              .bf16 = operands == Scalar::bf16} {}

FoldedNetwork CouplingNetwork::fold_into_scratch(const Context& context) const {
    const FoldedLevel single{&parameters_, layout_, 1, 0, take_folded(context.workspace, layout_, 1)};
    fold(context, {&single, 1});
    return single.all;
}

void CouplingNetwork::initialize(const Context& context, index_t N, index_t tile, const StatePixels& input) {
    initialize_hidden(context, N, tile, input);
    if (!precomputed_) return;
    const FoldedLevel single{&parameters_, layout_, 1, 0, *precomputed_};
    fold(context, {&single, 1});
}

namespace {

template <class Map>
class Network : public CouplingNetwork {
  public:
    using CouplingNetwork::CouplingNetwork;

    bool can_run(const Context& context, index_t N) const override {
        if (engine_ != Engine::library) return true;
        bool all = true;
        each_block(context, N,
                   [&](const ImageRows& block) { all = all && library().can_run(context, block); });
        return all;
    }

    Maps take_maps(Arena& arena, index_t N) const override {
        const index_t rows = N * H_ * W_;
        return {arena.take<Map>(rows * w_), arena.take<Map>(rows * w_), arena.take<real>(rows * outputs())};
    }

    FoldedGradient take_gradient(const Context& context, index_t N) const override {
        return take_folded_gradient(context, layout_, N, by_image(context));
    }

    void forward(const Context& context, const FoldedNetwork& folded, index_t N, const StatePixels& input,
                 real* out) const override {
        const Arena::Scope scope(context.workspace);
        network(context, folded, N, input, take_hidden(context, largest_block(context, N)), out);
    }

    void couple(const Context& context, const FoldedNetwork& folded, index_t N, const StatePixels& input,
                state_t* h, double* logdet, const Maps* saved) const override {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const Hidden hidden =
            saved != nullptr ? hidden_of(*saved) : take_hidden(context, largest_block(context, N));
        if (by_image(context))
            return coupling_by_image(folded).couple(
                context, N, h, logdet, saved != nullptr ? saved->out : nullptr,
                [&](const ImageRows& block) { return run_hidden(context, folded, block, input, hidden); });
        const index_t rows = N * H_ * W_;
        real* const out = saved != nullptr ? saved->out : arena.take<real>(rows * outputs());
        network(context, folded, N, input, hidden, out);
        if (form_->affine())
            affine_coupling_forward(context.exec, N, H_ * W_, state_channels(), {form_->scale, out}, h,
                                    logdet, arena.take<double>(group_scratch(N)));
        else
            additive_coupling_forward(context.exec, rows, state_channels(), out, h);
    }

    // Forward, where ' marks weights with the actnorm folded in:
    //     h1 = relu(columns(a) W1'^T), h2 = relu(h1 W2'^T + b2'),
    //     out = (col2im(h2 W3^T) + edge + bias) exp(3 logs)
    void backward(const Context& context, const FoldedNetwork& folded, const Tile& tile,
                  const FoldedGradient& gradient, const ParameterGradients& gradients) const override {
        const Exec& exec = context.exec;
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const index_t rows = tile.N * H_ * W_;
        Hidden hidden = tile.saved != nullptr ? hidden_of(*tile.saved) : take_hidden(context, rows);
        hidden.all = true;
        if (tile.saved == nullptr && by_image(context))
            hidden.columns = arena.take<Map>(rows * first_.columns.stride);
        // The coupling, if any, and the last convolution: dW3 and dh2.
        Map* const dhidden2 =
            by_image(context)
                ? coupling_by_image(folded).backward(
                      context, tile, gradient, hidden.second, fuses_second_relu(context, rows),
                      [&](const ImageRows& block) { run_hidden(context, folded, block, tile.input, hidden); })
                : backward_last_conv(context, folded, tile, gradient, hidden, gradients);
        // conv 1x1: dW2' += dh2^T h1, db2' += sum dh2, dh1 = dh2 W2'.
        // The last stage of db2' shares a kernel with a later one, if memory for da suffices for its operands.
        UnfinishedSums dbias2;
        std::optional<Arena::Scope> parts_scope(std::in_place, arena);
        if (!fuses_second_relu(context, rows))
            dbias2 = start_relu_backward_sums(exec, rows, w_, hidden.second, dhidden2, tile.accumulates(),
                                              gradient.bias2, arena.take<double>(column_scratch(1, w_)));
        if (dbias2.C == 0 ||
            largest_block(context, tile.N) * first_.columns.stride * static_cast<index_t>(sizeof(real)) <
                column_scratch(1, w_) * static_cast<index_t>(sizeof(double))) {
            finish_relu_backward_sums<Map>(exec, std::exchange(dbias2, {}));
            parts_scope.reset();
        }
        context.gemm(gemm_tn(w_, w_, rows, operands_, scalar_of<real>).adding(tile.accumulates()), dhidden2,
                     hidden.first, gradient.conv2);
        Map* const dhidden1 = hidden.second;  // this map is no longer needed
        context.gemm(gemm_nn(rows, w_, w_, operands_, scalar_of<Map>), dhidden2, folded.conv2, dhidden1);
        if (fuses_first_relu(context, rows))
            finish_relu_backward_sums<Map>(exec, dbias2);
        else
            relu_backward(exec, rows, w_, hidden.first, dhidden1, dbias2);
        parts_scope.reset();
        // The first convolution: dW1' (its column of ones gives the bias) and da.
        each_block(context, tile.N, [&](const ImageRows& block) {
            const index_t at = block.begin * W_;
            const NarrowInputConv::Backward<Map> conv1{
                .x = tile.input,
                .weight = static_cast<const Map*>(folded.conv1),
                .dy = dhidden1 + at * w_,
                .dweight = {gradient.conv1, tile.accumulates() || block.begin > 0},
                .dx = tile.dinput,
                .expanded = columns_of(hidden, block)};
            if constexpr (kHasTensorCores)
                if (fuses_first_relu(context, rows))
                    return first_.backward_of_relu(context, block, hidden.first + at * w_, conv1);
            first_.backward(context, block, conv1);
        });
    }

    void initialize_hidden(const Context& context, index_t N, index_t tile,
                           const StatePixels& input) override {
        const Arena::Scope scope(context.workspace);
        double* const moments = context.workspace.take<double>(2 * w_);
        const double rows = context.sum_over_processes(static_cast<double>(N * H_ * W_));
        for (const bool second : {false, true}) {
            const Parameter& bias = second ? parameters_.bias2 : parameters_.bias1;
            const Parameter& logs = second ? parameters_.logs2 : parameters_.logs1;
            fill(context.exec, w_, real{0}, bias.value());
            fill(context.exec, w_, real{0}, logs.value());
            fill(context.exec, 2 * w_, 0.0, moments);
            for (index_t n = 0; n < N; n = next_block(context.skips_blocks(), n, tile, N))
                add_raw_moments(context, std::min(tile, N - n), input.from(n * H_ * W_), second, moments);
            context.sum_over_processes(2 * w_, moments);
            actnorm_from_moments(context.exec, rows, w_, moments, bias.value(), logs.value());
        }
    }

  private:
    // Hidden maps. They cover all images if `all`, otherwise one block at a time. columns(a) is optional.
    struct Hidden {
        Map* first = nullptr;   // [pixels, w]
        Map* second = nullptr;  // [pixels, w]
        bool all = false;
        Map* columns = nullptr;  // [pixels, stride1], of all images
    };
    static Hidden hidden_of(const Maps& maps) {
        Hidden hidden;
        hidden.first = static_cast<Map*>(maps.hidden1);
        hidden.second = static_cast<Map*>(maps.hidden2);
        hidden.all = true;
        return hidden;
    }
    // Allocates scratch for `rows` pixels.
    Hidden take_hidden(const Context& context, index_t rows) const {
        Hidden hidden;
        hidden.first = context.workspace.take<Map>(rows * w_);
        hidden.second = context.workspace.take<Map>(rows * w_);
        return hidden;
    }
    Map* columns_of(const Hidden& hidden, const ImageRows& block) const {
        return hidden.columns != nullptr ? hidden.columns + block.begin * W_ * first_.columns.stride
                                         : nullptr;
    }

    // Whether fused kernels, with a thread block per image, compute the coupling from the taps of the last
    // convolution, and its backward (kernels/coupling_by_image.h).
    bool by_image(const Context& context) const {
        return form_ && engine_ != Engine::library && context.exec.tuned_for_gpu() &&
               coupling_by_image_fits<Map>(H_, W_, outputs());
    }

    // Whether kernels of bf16 products compute the gradients of the ReLUs after the first and the 1x1
    // convolution.
    static constexpr bool kHasTensorCores = std::is_same_v<Map, bfloat16>;
    bool fuses_first_relu(const Context& context, index_t rows) const {
        if constexpr (kHasTensorCores) return first_.fuses_relu(context.exec, rows);
        return false;
    }
    bool fuses_second_relu(const Context& context, index_t rows) const {
        if constexpr (kHasTensorCores) return by_image(context) && last_.fuses_relu(context.exec, rows);
        return false;
    }

    // Library convolutions, and the kernels with a thread block per image, need blocks of whole images.
    bool whole_images(const Context& context) const {
        return engine_ == Engine::library || by_image(context);
    }
    template <class F>
    void each_block(const Context& context, index_t N, F f) const {
        for_each_block(context, H_, W_, N, f, whole_images(context));
    }
    index_t largest_block(const Context& context, index_t N) const {
        return glow::largest_block(context, H_, W_, N, whole_images(context));
    }

    CouplingByImage<Map> coupling_by_image(const FoldedNetwork& folded) const {
        return {.form = *form_,
                .H = H_,
                .W = W_,
                .conv = last_,
                .weight = static_cast<const Map*>(folded.conv3),
                .edge_weight = edge_ ? parameters_.weight3.value() + w_ : nullptr,
                .edge_stride = w_ + 1,
                .bias = parameters_.bias3.value(),
                .scale = folded.scale3};
    }
    LibraryOutputConv<Map> library() const {
        return {.H = H_, .W = W_, .inputs = w_, .outputs = outputs(), .edge = edge_, .operands = operands_};
    }

    // The hidden maps of a block: h1 = relu(columns(input) W1'^T), h2 = relu(h1 W2'^T + b2'). Returns h2.
    Map* run_hidden(const Context& context, const FoldedNetwork& folded, const ImageRows& block,
                    const StatePixels& input, const Hidden& hidden) const {
        const index_t at = block.begin * W_;
        Map* const h1 = hidden.first + (hidden.all ? at * w_ : 0);
        Map* const h2 = hidden.second + (hidden.all ? at * w_ : 0);
        const Map* const W1 = static_cast<const Map*>(folded.conv1);
        first_.forward(context, block, input, W1, Epilogue::relu, h1, columns_of(hidden, block));
        context.gemm(gemm_nt(block.pixels(), w_, w_, operands_, scalar_of<Map>).with(Epilogue::bias_relu), h1,
                     folded.conv2, h2, {.bias = folded.bias2, .rounded_bias = folded.bias2_rounded});
        return h2;
    }

    // out = NN(input), block by block.
    void network(const Context& context, const FoldedNetwork& folded, index_t N, const StatePixels& input,
                 const Hidden& hidden, real* out) const {
        if (engine_ != Engine::library) fill(context.exec, N * H_ * W_ * outputs(), real{0}, out);
        each_block(context, N, [&](const ImageRows& block) {
            const Map* const h2 = run_hidden(context, folded, block, input, hidden);
            if (engine_ == Engine::library)
                library().forward(context, block, h2, folded.conv3, out);
            else
                last_.forward(context, block, h2, static_cast<const Map*>(folded.conv3), out);
        });
        zero_convolution_finish(context.exec, {H_, W_, 0, N * H_}, outputs(),
                                edge_ ? parameters_.weight3.value() + w_ : nullptr, w_ + 1,
                                parameters_.bias3.value(), folded.scale3, out);
    }

    // Backward of the coupling, if any, and of the last convolution, in separate kernels. Returns dh2.
    Map* backward_last_conv(const Context& context, const FoldedNetwork& folded, const Tile& tile,
                            const FoldedGradient& gradient, const Hidden& hidden,
                            const ParameterGradients& gradients) const {
        const Exec& exec = context.exec;
        Arena& arena = context.workspace;
        const index_t rows = tile.N * H_ * W_, C = outputs();
        const NetworkParameters& p = parameters_;
        real* const out = tile.saved != nullptr ? tile.saved->out : arena.take<real>(rows * C);
        if (tile.saved == nullptr) network(context, folded, tile.N, tile.input, hidden, out);
        real* const dout = arena.take<real>(rows * C);
        if (!form_)
            copy(exec, rows * C, tile.dout, dout);
        else if (form_->affine())
            affine_coupling_backward(exec, rows, state_channels(), tile.dlogdet, {form_->scale, out}, dout,
                                     tile.h, tile.dh);
        else
            additive_coupling_backward(exec, rows, state_channels(), out, dout, tile.h, tile.dh);
        Map* const dhidden2 = arena.take<Map>(rows * w_);
        const Arena::Scope scope(arena);
        double* const partial = arena.take<double>(std::max(column_scratch(2, C), column_scratch(9, C)));
        zero_convolution_backward(exec, rows, C, folded.scale3, out, dout,
                                  {p.bias3.gradient(gradients), p.logs3.gradient(gradients)}, partial);
        const real* const dpre = dout;
        if (edge_)
            edge_weight_backward(exec, ImageRows::of_images(tile.N, H_, W_), C, dpre,
                                 p.weight3.gradient(gradients) + w_, w_ + 1, partial);
        each_block(context, tile.N, [&](const ImageRows& block) {
            const Map* const h2 = hidden.second + block.begin * W_ * w_;
            Map* const dh2 = dhidden2 + block.begin * W_ * w_;
            if (engine_ == Engine::library)
                library().backward(context, block, h2, folded.conv3, dpre, p.weight3.gradient(gradients),
                                   dh2);
            else
                last_.backward(context, block, h2, static_cast<const Map*>(folded.conv3), dpre,
                               {gradient.conv3, tile.accumulates() || block.begin > 0}, dh2);
        });
        return dhidden2;
    }

    // moments += sums of the output of conv1 before its actnorm. second: of conv2 instead, with conv1 already
    // initialized.
    void add_raw_moments(const Context& context, index_t N, const StatePixels& input, bool second,
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
                first_.forward(context, block, input, W1, Epilogue::relu, hidden1);
                context.gemm(gemm_nt(block.pixels(), w_, w_, operands_, scalar_of<real>), hidden1,
                             folded.conv2, raw);
            } else {
                first_.forward(context, block, input, W1, Epilogue::none, raw);
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

std::unique_ptr<CouplingNetwork> make_network(const NetworkShape& shape, std::optional<CouplingForm> form,
                                              Precision precision, Engine engine, const std::string& name,
                                              Parameters& parameters) {
#if !defined(GLOW_REAL_DOUBLE)
    if (precision == Precision::bf16)
        return std::make_unique<Network<bfloat16>>(shape, form, Scalar::bf16, engine, name, parameters);
    if (precision == Precision::tf32)
        return std::make_unique<Network<real>>(shape, form, Scalar::tf32, engine, name, parameters);
#endif
    if (precision != Precision::fp32)
        throw InputError("--precision " + to_string(precision) +
                         ": the double-precision build supports only fp32");
    return std::make_unique<Network<real>>(shape, form, scalar_of<real>, engine, name, parameters);
}

}  // namespace glow::inline GLOW_REAL
