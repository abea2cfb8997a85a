// Blas on oneDNN matmul, versions 2.2 to 3.x: float and bf16, with fused bias, ReLU and accumulation. Double
// products go to OpenBLAS. Primitives are cached per product and team size, because a primitive created for
// one number of threads silently computes wrong results on another.
#include <map>
#include <memory>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <utility>

#include "kernels/error.h"
#include "kernels/math.h"
#include "runtime/blas.h"
#include "runtime/epilogue.h"
#include "runtime/memory.h"
#include "runtime/memory_limit.h"
#include "runtime/openblas.h"
#include "runtime/threads.h"

namespace glow {
namespace {

using dnnl::memory;

memory::data_type type_of(Scalar scalar) {
    return scalar == Scalar::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// Whether an operand is a strided column. oneDNN 3 misreads the strides of such a matrix.
bool has_strided_column(const Gemm& g) {
    const bool a = g.transpose_a ? g.m == 1 && g.lda > 1 : g.k == 1 && g.lda > 1;
    const bool b = g.transpose_b ? g.k == 1 && g.ldb > 1 : g.n == 1 && g.ldb > 1;
    return a || b || (g.n == 1 && g.ldc > 1);
}

float element(const void* data, Scalar type, index_t i) {
    return type == Scalar::bf16 ? widen(static_cast<const bfloat16*>(data)[i])
                                : static_cast<const float*>(data)[i];
}

// Direct implementation for those; no network product needs it.
void run_plainly(const Gemm& g, const void* a, const void* b, void* c, const float* bias) {
    for (index_t m = 0; m < g.m; ++m)
        for (index_t n = 0; n < g.n; ++n) {
            const index_t at = m * g.ldc + n;
            double sum = g.accumulate ? element(c, g.out, at) : 0.0f;
            for (index_t k = 0; k < g.k; ++k)
                sum += static_cast<double>(element(a, g.in, g.transpose_a ? k * g.lda + m : m * g.lda + k)) *
                       element(b, g.in, g.transpose_b ? n * g.ldb + k : k * g.ldb + n);
            if (g.epilogue == Epilogue::bias_relu) sum += bias[n];
            if (g.epilogue != Epilogue::none && sum < 0) sum = 0;
            if (g.out == Scalar::bf16)
                static_cast<bfloat16*>(c)[at] = round_to<bfloat16>(sum);
            else
                static_cast<float*>(c)[at] = static_cast<float>(sum);
        }
}

std::shared_ptr<void> aligned_memory(std::size_t bytes) {
    const auto alignment = std::align_val_t(kAlignment);
    return {operator new(bytes, alignment),
            [alignment](void* memory) { operator delete(memory, alignment); }};
}

// Enough for the code that oneDNN compiles for one product; it crashes if it cannot map this much.
constexpr std::size_t kCodeBytes = std::size_t{4} << 20;

class OneDnnBlas : public Blas {
  public:
    explicit OneDnnBlas(int threads)
        : threads_(threads),
          double_(make_openblas(threads)),
          engine_(dnnl::engine::kind::cpu, 0),
          stream_(engine_) {}

    std::size_t scratch_bytes(const Gemm& gemm) override {
        if (gemm.in == Scalar::f64) return double_->scratch_bytes(gemm);
        return has_strided_column(gemm) ? 0 : product(gemm, threads_).scratch_bytes;
    }

    void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        if (gemm.in == Scalar::f64) return double_->run(gemm, a, b, c, data, scratch);
        if (has_strided_column(gemm)) return run_plainly(gemm, a, b, c, static_cast<const float*>(data.bias));
        const int team = available_team(threads_);
        Product& p = product(gemm, team);
        p.a.set_data_handle(const_cast<void*>(a));
        p.b.set_data_handle(const_cast<void*>(b));
        p.c.set_data_handle(c);
        p.scratch.set_data_handle(p.own_scratch ? p.own_scratch.get() : scratch);
        if (gemm.epilogue == Epilogue::bias_relu) p.bias.set_data_handle(const_cast<void*>(data.bias));
        const ScopedTeam scope(team);
        p.primitive.execute(stream_, p.arguments);
        stream_.wait();
    }

    bool has_bf16() const override {
#if defined(__x86_64__)
        return __builtin_cpu_supports("avx512bf16");
#else
        return false;
#endif
    }

  private:
    struct Product {
        dnnl::matmul primitive;
        memory a, b, c, bias, scratch;
        std::unordered_map<int, memory> arguments;
        std::size_t scratch_bytes = 0;
        std::shared_ptr<void> own_scratch;  // the caller's scratch is sized for threads_
    };

    Product& product(const Gemm& gemm, int team) {
        const auto found = products_.find({gemm, team});
        if (found != products_.end()) return found->second;
        if (const MemoryLimit limit = process_memory_limit(); limit.bytes < kCodeBytes)
            throw InputError("oneDNN needs " + format_bytes(kCodeBytes) +
                             " for the code of a matrix product, but " + limit.source + " " +
                             format_bytes(limit.bytes));
        try {
            return products_.emplace(std::pair(gemm, team), make(gemm, team)).first->second;
        } catch (const dnnl::error& e) {
            throw Error(std::string("oneDNN rejects the matrix product [") + std::to_string(gemm.m) + ", " +
                        std::to_string(gemm.k) + "] x [" + std::to_string(gemm.k) + ", " +
                        std::to_string(gemm.n) + "]: " + e.what());
        }
    }

    Product make(const Gemm& g, int team) const {
        const ScopedTeam scope(team);
        const memory::desc a({g.m, g.k}, type_of(g.in),
                             g.transpose_a ? memory::dims{1, g.lda} : memory::dims{g.lda, 1});
        const memory::desc b({g.k, g.n}, type_of(g.in),
                             g.transpose_b ? memory::dims{1, g.ldb} : memory::dims{g.ldb, 1});
        const memory::desc c({g.m, g.n}, type_of(g.out), memory::dims{g.ldc, 1});
        const memory::desc bias({1, g.n}, memory::data_type::f32, memory::dims{g.n, 1});
        const bool with_bias = g.epilogue == Epilogue::bias_relu;

        dnnl::post_ops post;
        if (g.accumulate) post.append_sum(1.0f);
#if DNNL_VERSION_MAJOR >= 3
        if (g.epilogue != Epilogue::none) post.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
        if (g.epilogue != Epilogue::none)
            post.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
        dnnl::primitive_attr attributes;
        attributes.set_post_ops(post);
        attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3 || DNNL_VERSION_MINOR >= 6
        // Whatever ONEDNN_DEFAULT_FPMATH_MODE says: it would allow products of floats in bf16.
        attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
#endif
#if DNNL_VERSION_MAJOR >= 3
        const auto description = with_bias ? dnnl::matmul::primitive_desc(engine_, a, b, bias, c, attributes)
                                           : dnnl::matmul::primitive_desc(engine_, a, b, c, attributes);
#else
        const auto description = dnnl::matmul::primitive_desc(
            with_bias ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c), attributes, engine_);
#endif
        Product p;
        p.primitive = dnnl::matmul(description);
        p.a = memory(a, engine_, nullptr);
        p.b = memory(b, engine_, nullptr);
        p.c = memory(c, engine_, nullptr);
        p.scratch = memory(description.scratchpad_desc(), engine_, nullptr);
        p.scratch_bytes = description.scratchpad_desc().get_size();
        if (team != threads_ && p.scratch_bytes > 0) p.own_scratch = aligned_memory(p.scratch_bytes);
        p.arguments = {{DNNL_ARG_SRC, p.a},
                       {DNNL_ARG_WEIGHTS, p.b},
                       {DNNL_ARG_DST, p.c},
                       {DNNL_ARG_SCRATCHPAD, p.scratch}};
        if (with_bias) {
            p.bias = memory(bias, engine_, nullptr);
            p.arguments.emplace(DNNL_ARG_BIAS, p.bias);
        }
        return p;
    }

    int threads_;
    std::unique_ptr<Blas> double_;
    dnnl::engine engine_;
    dnnl::stream stream_;
    std::map<std::pair<Gemm, int>, Product> products_;
};

}  // namespace

std::unique_ptr<Blas> make_cpu_blas(int threads) {
    return std::make_unique<OneDnnBlas>(threads);
}

}  // namespace glow
