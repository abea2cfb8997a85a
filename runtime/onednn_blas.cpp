// Blas on oneDNN matmul, 2.5 to 3.x: float and bf16, bias, ReLU and accumulation fused. Primitives are made
// once per product and kept. Double products go to OpenBLAS.
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "kernels/error.h"
#include "runtime/blas.h"
#include "runtime/openblas.h"

namespace glow {
namespace {

using dnnl::memory;

memory::data_type type_of(Scalar scalar) {
    return scalar == Scalar::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

class OneDnnBlas : public Blas {
  public:
    explicit OneDnnBlas(int threads)
        : double_(make_openblas(threads)), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

    std::size_t scratch_bytes(const Gemm& gemm) override {
        return gemm.in == Scalar::f64 ? double_->scratch_bytes(gemm) : product(gemm).scratch_bytes;
    }

    void run(const Gemm& gemm, const void* a, const void* b, void* c, const void* bias,
             void* scratch) override {
        if (gemm.in == Scalar::f64) return double_->run(gemm, a, b, c, bias, scratch);
        Product& p = product(gemm);
        p.a.set_data_handle(const_cast<void*>(a));
        p.b.set_data_handle(const_cast<void*>(b));
        p.c.set_data_handle(c);
        p.scratch.set_data_handle(scratch);
        if (gemm.epilogue == Epilogue::bias_relu) p.bias.set_data_handle(const_cast<void*>(bias));
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
    };

    Product& product(const Gemm& gemm) {
        const auto found = products_.find(gemm);
        if (found != products_.end()) return found->second;
        try {
            return products_.emplace(gemm, make(gemm)).first->second;
        } catch (const dnnl::error& e) {
            throw Error(std::string("oneDNN refuses a matrix product [") + std::to_string(gemm.m) + ", " +
                        std::to_string(gemm.k) + "] x [" + std::to_string(gemm.k) + ", " +
                        std::to_string(gemm.n) + "]: " + e.what());
        }
    }

    Product make(const Gemm& g) const {
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

    std::unique_ptr<Blas> double_;
    dnnl::engine engine_;
    dnnl::stream stream_;
    std::map<Gemm, Product> products_;
};

}  // namespace

std::unique_ptr<Blas> make_cpu_blas(int threads) {
    return std::make_unique<OneDnnBlas>(threads);
}

}  // namespace glow
