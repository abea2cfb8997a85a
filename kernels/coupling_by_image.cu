#include "kernels/block.cuh"
#include "kernels/coupling_by_image.h"
#include "kernels/coupling_math.h"
#include "kernels/pack.cuh"

namespace glow::inline GLOW_REAL {
namespace {

// Successive channels of a pixel, loaded and stored at once, 16 bytes at a time.
template <class T, int kCount>
struct alignas(kCount * sizeof(T) < 16 ? kCount * sizeof(T) : 16) Lanes {
    T value[kCount];
};
template <int kCount, class T>
GLOW_HD Lanes<T, kCount>& lanes(T* at) {
    check_aligned(at, alignof(Lanes<T, kCount>));
    return *reinterpret_cast<Lanes<T, kCount>*>(at);
}
template <int kCount, class T>
GLOW_HD const Lanes<T, kCount>& lanes(const T* at) {
    check_aligned(at, alignof(Lanes<T, kCount>));
    return *reinterpret_cast<const Lanes<T, kCount>*>(at);
}

// Keeps the rounding of values to their type: in vectorized loops g++ 12 drops a conversion from double to
// float and back.
template <class T>
GLOW_HD void force_rounding([[maybe_unused]] T& values) {
#if !defined(__CUDA_ARCH__)
    asm volatile("" : "+m"(values));
#endif
}

// Distributes the lanes of an image over threads: a thread has the same channels of every `slots`-th pixel.
struct ImageWalk {
    int W, y, x, y_step, x_step;
    int slot, slots, first_channel;  // slot == slots: an idle thread

    // groups: of channels, at most `threads`.
    GLOW_HD ImageWalk(int thread, int threads, int W, int groups, int channels_each) : W(W) {
        slots = threads / groups;
        slot = thread / groups;
        first_channel = (thread - slot * groups) * channels_each;
        slot = slot < slots ? slot : slots;
        y = slot / W, x = slot - y * W;
        y_step = slots / W, x_step = slots - y_step * W;
    }
    GLOW_HD bool idle() const { return slot == slots; }
    GLOW_HD void next() {
        y += y_step, x += x_step;
        if (x >= W) x -= W, ++y;
    }
};

// Shared by both kernels: 32-bit offsets within an image, and the network's output from its taps.
template <int kCount>
struct Image {
    using Values = Lanes<real, kCount>;

    index_t pixels;  // of all images
    int H, W, outputs, stride;
    const real* edge_weight;
    int edge_stride;
    const real* bias;
    const double* scale;

    explicit Image(const CouplingImages& i)
        : pixels(i.N * i.H * i.W),
          H(static_cast<int>(i.H)),
          W(static_cast<int>(i.W)),
          outputs(static_cast<int>(i.outputs)),
          stride(static_cast<int>(i.stride)),
          edge_weight(i.edge_weight),
          edge_stride(static_cast<int>(i.edge_stride)),
          bias(i.bias),
          scale(i.scale) {}

    GLOW_HD int groups() const { return outputs / kCount; }
    double values(double bytes_a_pixel) const { return static_cast<double>(pixels) * bytes_a_pixel; }
    GLOW_HD index_t first_pixel(int n) const { return index_t{n} * H * W; }

    // Constants of every pixel, in shared memory [kConstants, outputs]: bias, scale and the nine edge
    // weights. In global memory the loads of the edge weights would run one after another.
    static constexpr int kFirstEdgeWeight = 2, kConstants = kFirstEdgeWeight + 9;
    static constexpr index_t constants_bytes(index_t outputs) {
        return kConstants * outputs * static_cast<index_t>(sizeof(double));
    }
    template <int kThreads>
    GLOW_HD void stage_constants(int thread, double* constants) const {
        if (edge_weight != nullptr)
            copy_items<kThreads, 2>(
                thread, 9 * outputs, [&](int k) { return edge_weight[index_t{k} * edge_stride]; },
                [&](int k, real weight) {
                    constants[(kFirstEdgeWeight + k % 9) * outputs + k / 9] = weight;
                });
        for (int c = thread; c < outputs; c += kThreads)
            constants[c] = bias[c], constants[outputs + c] = scale[c];
    }
    GLOW_HD const double* scales(const double* constants) const { return constants + outputs; }
    GLOW_HD double* after(double* constants) const { return constants + kConstants * outputs; }

    // taps: of the image. All nine loads are issued before the first addition. Adds in the order of col2im.
    GLOW_HD Values output(const double* constants, const real* taps, int y, int x, int c) const {
        Values tap[9];
        const unsigned inside = image_taps(H, W, 1, y, x);
        const real* const center = taps + (y * W + x) * stride + c;
        for (int kh = 0; kh < 3; ++kh)
            for (int kw = 0; kw < 3; ++kw) {
                const int t = kh * 3 + kw;
                tap[t] = inside >> t & 1
                             ? lanes<kCount>(center + ((kh - 1) * W + kw - 1) * stride + t * outputs)
                             : Values{};
            }
        Values out;
        const unsigned taps_inside = edge_weight != nullptr ? inside : kAllTaps;
        for (int j = 0; j < kCount; ++j) {
            real sum = 0;
            for (int t = 0; t < 9; ++t) sum += tap[t].value[j];
            const double* const of_channel = constants + c + j;
            const auto edge = [&](int tap) { return of_channel[(kFirstEdgeWeight + tap) * outputs]; };
            out.value[j] =
                zero_convolution_output(sum, of_channel[0], taps_inside, edge, of_channel[outputs]);
        }
        return out;
    }
};

// kScale: of an affine coupling; any for an additive one.
template <bool kAffine, CouplingScale kScale, int kCount, int kWarps>
struct CouplingForwardImage {
    static constexpr const char* name =
        kAffine ? "affine_coupling_forward_image" : "additive_coupling_forward_image";
    static constexpr int kThreads = 32 * kWarps, kBlocks = 24 / kWarps, kPhases = kAffine ? 4 : 2;
    static constexpr int kState =
        kAffine ? kCount / 2 : kCount;  // channels of b that a thread updates at once
    struct Locals {};
    Image<kCount> image;
    const real* taps;
    state_t* h;
    double* logdet;
    real* out;

    // Taps read, b read and written, `out` written unless nullptr.
    double bytes() const {
        return image.values(9.0 * image.outputs * sizeof(real) +
                            2.0 * image.groups() * kState * sizeof(state_t) +
                            (out != nullptr ? 1.0 * image.outputs * sizeof(real) : 0.0));
    }
    static constexpr index_t shared_bytes(index_t outputs) {
        return Image<kCount>::constants_bytes(outputs) +
               (kAffine ? kThreads * static_cast<index_t>(sizeof(double)) : 0);
    }
    GLOW_HD static double* constants(const BlockThread& at) { return static_cast<double*>(at.shared); }
    // The threads' sums of log scale [kThreads].
    GLOW_HD double* sums(const BlockThread& at) const { return image.after(constants(at)); }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        image.template stage_constants<kThreads>(at.thread, constants(at));
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const double sum = couple(at.x, at.thread, constants(at));
        if constexpr (kAffine) sums(at)[at.thread] = sum;
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals&) const {
        start_thread_sum<kThreads>(at.thread, sums(at));
    }
    GLOW_HD void run(Phase<3>, const BlockThread& at, Locals&) const {
        if (at.thread == 0) logdet[at.x] += finish_thread_sum(sums(at));
    }

  private:
    // Returns the sum of this thread's log scales.
    GLOW_HD double couple(int n, int thread, const double* constants) const {
        const index_t first = image.first_pixel(n);
        const int channels = kAffine ? image.outputs : 2 * image.outputs, W = image.W;
        const real* const image_taps = taps + first * image.stride;
        double sum = 0;
        ImageWalk at(thread, kThreads, W, image.groups(), kCount);
        for (const int c = at.first_channel; !at.idle() && at.y < image.H; at.next()) {
            const index_t pixel = first + at.y * W + at.x;
            const Lanes<real, kCount> o = image.output(constants, image_taps, at.y, at.x, c);
            if (out != nullptr) lanes<kCount>(out + pixel * image.outputs + c) = o;
            auto& memory = lanes<kState>(h + pixel * channels + channels / 2 + (kAffine ? c / 2 : c));
            Lanes<state_t, kState> b = memory;
            for (int j = 0; j < kState; ++j) {
                if constexpr (kAffine)
                    sum += affine_forward<kScale>(o.value + 2 * j, b.value[j]);
                else
                    b.value[j] += o.value[j];
            }
            memory = b;
        }
        return sum;
    }
};

template <class Map, bool kAffine, CouplingScale kScale, int kCount, int kWarps>
struct CouplingBackwardImage {
    static constexpr const char* name =
        kAffine ? "affine_coupling_backward_image" : "additive_coupling_backward_image";
    static constexpr int kThreads = 32 * kWarps, kBlocks = 24 / kWarps, kPhases = 3;
    static constexpr int kState = kAffine ? kCount / 2 : kCount;
    static constexpr int kParts = static_cast<int>(Pack<Map>::kSize) / kCount;  // lanes of a pack of dtaps
    static constexpr int kSums = kFirstEdgeSum;  // that threads keep; those by tap are taken from the frame
    using Frame = Lanes<Map, kCount>;
    struct Locals {};
    Image<kCount> image;
    const real* taps;
    const real* out;
    state_t* h;
    CouplingImagesGradient<Map> gradient;

    // Taps or out in, b in and out, its gradient in (and out), dtaps out.
    double bytes() const {
        return image.values((out != nullptr ? 1.0 : 9.0) * image.outputs * sizeof(real) +
                            image.groups() * kState *
                                (2.0 * sizeof(state_t) + (kAffine ? 2.0 : 1.0) * sizeof(real)) +
                            1.0 * image.stride * sizeof(Map));
    }
    static constexpr index_t shared_bytes(index_t H, index_t W, index_t outputs) {
        return Image<kCount>::constants_bytes(outputs) +
               kSums * kCount * kThreads * static_cast<index_t>(sizeof(double)) +
               (H + 2) * (W + 2) * outputs * static_cast<index_t>(sizeof(Map));
    }
    GLOW_HD static double* constants(const BlockThread& at) { return static_cast<double*>(at.shared); }
    // [slots, kSums, outputs]
    GLOW_HD double* partial(const BlockThread& at) const { return image.after(constants(at)); }
    // dpre [H + 2, W + 2, outputs], 0 around the image
    GLOW_HD Frame* frame(const BlockThread& at) const {
        return reinterpret_cast<Frame*>(partial(at) + kSums * kCount * kThreads);
    }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        image.template stage_constants<kThreads>(at.thread, constants(at));
        clear_border(at.thread, frame(at));
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        uncouple(at.x, at.thread, constants(at), partial(at), frame(at));
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals&) const {
        store_sums(at.x, at.thread, partial(at), frame(at));
        store_dtaps(at.x, at.thread, frame(at));
    }

  private:
    GLOW_HD void clear_border(int thread, Frame* frame) const {
        const int groups = image.groups(), line = (image.W + 2) * groups;
        for (int i = thread; i < line; i += kThreads) frame[i] = frame[(image.H + 1) * line + i] = Frame{};
        for (int y = thread + 1; y <= image.H; y += kThreads)
            for (int g = 0; g < groups; ++g)
                frame[y * line + g] = frame[(y + 1) * line - groups + g] = Frame{};
    }

    GLOW_HD void uncouple(int n, int thread, const double* constants, double* partial, Frame* frame) const {
        const index_t first = image.first_pixel(n);
        const int channels = kAffine ? image.outputs : 2 * image.outputs, W = image.W,
                  groups = image.groups();
        const real* const image_taps = taps + first * image.stride;
        double sum[kCount] = {}, sum_out[kCount] = {};
        ImageWalk at(thread, kThreads, W, groups, kCount);
        if (at.idle()) return;
        const int c = at.first_channel;
        for (; at.y < image.H; at.next()) {
            const index_t pixel = first + at.y * W + at.x;
            const Lanes<real, kCount> o = out != nullptr ? lanes<kCount>(out + pixel * image.outputs + c)
                                                         : image.output(constants, image_taps, at.y, at.x, c);
            const index_t b_at = pixel * channels + channels / 2 + (kAffine ? c / 2 : c);
            Lanes<state_t, kState> b = lanes<kState>(h + b_at);
            Lanes<real, kState> db = lanes<kState>(gradient.dh + b_at);
            Lanes<real, kCount> d;
            for (int j = 0; j < kState; ++j) {
                if constexpr (kAffine)
                    affine_backward<kScale>(o.value + 2 * j, gradient.dlogdet, b.value[j], db.value[j],
                                            d.value + 2 * j);
                else
                    b.value[j] -= o.value[j], d.value[j] = db.value[j];
            }
            lanes<kState>(h + b_at) = b;
            if constexpr (kAffine) lanes<kState>(gradient.dh + b_at) = db;
            force_rounding(d);
            Frame& dpre = frame[((at.y + 1) * (W + 2) + at.x + 1) * groups + c / kCount];
            for (int j = 0; j < kCount; ++j) {
                const double dout = d.value[j], scaled = dout * image.scales(constants)[c + j];
                sum[j] += scaled;
                sum_out[j] += dout * o.value[j];
                dpre.value[j] = round_to<Map>(static_cast<real>(scaled));
            }
        }
        for (int j = 0; j < kCount; ++j) {
            partial[(at.slot * kSums + kBiasSum) * image.outputs + c + j] = sum[j];
            partial[(at.slot * kSums + kLogsSum) * image.outputs + c + j] = sum_out[j];
        }
    }

    GLOW_HD void store_sums(int n, int thread, const double* partial, const Frame* frame) const {
        const int C = image.outputs, H = image.H, W = image.W, slots = kThreads / image.groups();
        const int count = output_sums(image.edge_weight != nullptr) * C;
        const auto dpre = [&](int y, int x, int c) {
            return static_cast<double>(
                widen(frame[(y * (W + 2) + x) * image.groups() + c / kCount].value[c % kCount]));
        };
        for (int s = thread; s < count; s += kThreads) {
            const int kind = s / C, c = s - kind * C;
            double sum = 0;
            if (kind < kSums) {
                for (int slot = 0; slot < slots; ++slot) sum += partial[slot * kSums * C + s];
            } else {  // the row and the column of pixels whose tap lies outside, the corner once
                const int kh = (kind - kSums) / 3, kw = kind - kSums - 3 * kh;
                const int row = kh == 0 ? 1 : H, column = kw == 0 ? 1 : W;
                if (kh != 1)
                    for (int x = 1; x <= W; ++x) sum += dpre(row, x, c);
                if (kw != 1)
                    for (int y = 1; y <= H; ++y)
                        if (kh == 1 || y != row) sum += dpre(y, column, c);
            }
            gradient.sums[s * gradient.sums_stride + n] = sum;
        }
    }

    // The mirrored im2col of dpre, 16 bytes at a time: a thread keeps its columns.
    GLOW_HD void store_dtaps(int n, int thread, const Frame* frame) const {
        const int W = image.W, groups = image.groups(), pixels = image.H * W;
        const int packs = image.stride / (kParts * kCount), columns = packs < kThreads ? packs : kThreads;
        const int step = kThreads / columns, slot = thread / columns;
        if (slot >= step) return;
        Map* const image_dtaps = gradient.dtaps + image.first_pixel(n) * image.stride;
        for (int pack = thread - slot * columns; pack < packs; pack += columns) {
            int from[kParts];  // from the frame's cell above and left of the pixel; below 0: padding
            for (int k = 0; k < kParts; ++k) {
                const int group = pack * kParts + k, tap = group / groups, kh = tap / 3, kw = tap - 3 * kh;
                from[k] = tap < 9 ? ((2 - kh) * (W + 2) + 2 - kw) * groups + group - tap * groups : -1;
            }
            for (int pixel = slot, y = slot / W, x = slot - y * W; pixel < pixels; pixel += step) {
                const Frame* const corner = frame + (y * (W + 2) + x) * groups;
                Pack<Map> packed;
                for (int k = 0; k < kParts; ++k) {
                    const Frame part = from[k] >= 0 ? corner[from[k]] : Frame{};
                    for (int j = 0; j < kCount; ++j) packed.value[k * kCount + j] = part.value[j];
                }
                store_pack(packed, image_dtaps + pixel * image.stride + pack * kParts * kCount);
                for (x += step; x >= W; x -= W) ++y;
            }
        }
    }
};

// f<kCount>() with the widest lanes that divide the outputs: 16 bytes, or two elements, as a shift and a
// scale are.
template <class F>
void with_lanes(index_t outputs, F f) {
    constexpr int kWide = static_cast<int>(Pack<real>::kSize);
    if (kWide > 2 && outputs % kWide == 0) return f.template operator()<kWide>();
    f.template operator()<2>();
}

// Warps per block; narrow: if half as many suffice for an image.
constexpr int kWideWarps = 12, kNarrowWarps = 6;
template <int kCount>
bool is_narrow(index_t H, index_t W, index_t outputs) {
    return H * W * (outputs / kCount) <= 32 * kNarrowWarps;
}

template <class F>
void with_kind(const CouplingImages& images, F f) {
    with_lanes(images.outputs, [&]<int kCount>() {
        const auto with_warps = [&]<int kWarps>() {
            if (!images.affine) return f.template operator()<false, CouplingScale::sigmoid, kCount, kWarps>();
            with_scale(images.coupling_scale, [&]<CouplingScale kScale>() {
                f.template operator()<true, kScale, kCount, kWarps>();
            });
        };
        if (is_narrow<kCount>(images.H, images.W, images.outputs))
            with_warps.template operator()<kNarrowWarps>();
        else
            with_warps.template operator()<kWideWarps>();
    });
}

}  // namespace

template <class Map>
bool coupling_by_image_fits(index_t H, index_t W, index_t outputs) {
    bool fits = false;
    if (outputs % 2 == 0)
        with_lanes(outputs, [&]<int kCount>() {
            using Kernel = CouplingBackwardImage<Map, true, CouplingScale::sigmoid, kCount, kWideWarps>;
            fits = outputs / kCount <= Kernel::kThreads &&
                   Kernel::shared_bytes(H, W, outputs) <= kMaxSharedBytes;
        });
    return fits;
}

void coupling_forward_by_image(const Exec& exec, const CouplingImages& images, const real* taps,
                               double* logdet, real* out) {
    with_kind(images, [&]<bool kAffine, CouplingScale kScale, int kCount, int kWarps>() {
        using Kernel = CouplingForwardImage<kAffine, kScale, kCount, kWarps>;
        run_blocks(exec, {images.N, 1, Kernel::shared_bytes(images.outputs)},
                   Kernel{Image<kCount>(images), taps, images.h, logdet, out});
    });
}

template <class Map>
void coupling_backward_by_image(const Exec& exec, const CouplingImages& images, const real* taps,
                                const real* out, const CouplingImagesGradient<Map>& gradient) {
    with_kind(images, [&]<bool kAffine, CouplingScale kScale, int kCount, int kWarps>() {
        using Kernel = CouplingBackwardImage<Map, kAffine, kScale, kCount, kWarps>;
        run_blocks(exec, {images.N, 1, Kernel::shared_bytes(images.H, images.W, images.outputs)},
                   Kernel{Image<kCount>(images), taps, out, images.h, gradient});
    });
}

#define GLOW_INSTANTIATE(Map)                                                                      \
    template bool coupling_by_image_fits<Map>(index_t, index_t, index_t);                          \
    template void coupling_backward_by_image<Map>(const Exec&, const CouplingImages&, const real*, \
                                                  const real*, const CouplingImagesGradient<Map>&);
GLOW_INSTANTIATE(real)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE(bfloat16)
#endif
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL
