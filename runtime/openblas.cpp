// Epilogues run as a separate pass after the cblas product.
#include "runtime/openblas.h"

#include <cblas.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "runtime/epilogue.h"
#include "runtime/memory.h"
#include "runtime/memory_limit.h"

#if defined(GLOW_BLAS_IS_OPENBLAS)
// OpenBLAS's pool of buffers. Exported, but in no header; weak in case a build of it hides them.
extern "C" {
__attribute__((weak)) void* blas_memory_alloc(int);
__attribute__((weak)) void blas_memory_free(void*);
}
#endif

namespace glow {
namespace {

template <class T>
void epilogue(const Gemm& g, T* c, const T* bias, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t row = 0; row < g.m; ++row)
        for (index_t j = 0; j < g.n; ++j) {
            const T value = c[row * g.ldc + j] + (g.epilogue == Epilogue::bias_relu ? bias[j] : T{0});
            c[row * g.ldc + j] = std::max(value, T{0});
        }
}

constexpr index_t kTile = 16;  // columns or rows of OpenBLAS's inner products

// c (m x n) from a part of the product g that starts at a, b and c; without epilogue.
template <class T>
void gemm(const Gemm& g, index_t m, index_t n, const T* a, const T* b, T* c) {
    const auto ta = g.transpose_a ? CblasTrans : CblasNoTrans, tb = g.transpose_b ? CblasTrans : CblasNoTrans;
    const auto product = [&](auto cblas_gemm) {
        cblas_gemm(CblasRowMajor, ta, tb, static_cast<int>(m), static_cast<int>(n), static_cast<int>(g.k),
                   T{1}, a, static_cast<int>(g.lda), b, static_cast<int>(g.ldb), g.accumulate ? T{1} : T{0},
                   c, static_cast<int>(g.ldc));
    };
    if constexpr (std::is_same_v<T, double>)
        product(cblas_dgemm);
    else
        product(cblas_sgemm);
}

class OpenBlas : public Blas {
  public:
    explicit OpenBlas(int threads) : threads_(threads) {}

    std::size_t scratch_bytes(const Gemm&) override { return 0; }

    void run(const Gemm& g, const void* a, const void* b, void* c, const EpilogueData& data,
             void* /*scratch*/) override {
        if (std::max({g.m, g.n, g.k, g.lda, g.ldb, g.ldc}) > std::numeric_limits<int>::max())
            throw Error("a matrix product is too large for this BLAS (2^31 rows)");
        const ScopedBlasThreads one_thread;
        if (g.in == Scalar::f64 && g.out == Scalar::f64) {
            product(g, static_cast<const double*>(a), static_cast<const double*>(b), static_cast<double*>(c),
                    static_cast<const double*>(data.bias));
        } else if (g.in == Scalar::f32 && g.out == Scalar::f32) {
            product(g, static_cast<const float*>(a), static_cast<const float*>(b), static_cast<float*>(c),
                    static_cast<const float*>(data.bias));
        } else {
            throw InputError(
                "bf16 networks need oneDNN, which this build does not have; use --precision fp32");
        }
    }

    bool has_bf16() const override { return false; }

  private:
    // Every thread of the team computes some rows or columns of c. OpenBLAS's own threads would wait forever
    // for those that the system did not start.
    template <class T>
    void product(const Gemm& g, const T* a, const T* b, T* c, const T* bias) const {
        constexpr index_t kMinWork = 1 << 16;  // multiply-adds that are worth a team
        const int team = g.m * g.n * g.k < kMinWork ? 1 : available_team(threads_);
        const bool by_rows = g.m >= g.n;
        const index_t extent = by_rows ? g.m : g.n, part = round_up((extent + team - 1) / team, kTile);
#pragma omp parallel for num_threads(team) schedule(static)
        for (int i = 0; i < team; ++i) {
            const index_t begin = std::min(i * part, extent), size = std::min(part, extent - begin);
            if (size == 0) continue;
            const index_t row = by_rows ? begin : 0, column = by_rows ? 0 : begin;
            gemm(g, by_rows ? size : g.m, by_rows ? g.n : size, a + row * (g.transpose_a ? 1 : g.lda),
                 b + column * (g.transpose_b ? g.ldb : 1), c + row * g.ldc + column);
        }
        if (g.epilogue != Epilogue::none) epilogue(g, c, bias, available_team(threads_));
    }

    int threads_;
};

#if defined(GLOW_BLAS_IS_OPENBLAS)
// Scopes in all threads, and the program's number of threads while there are any.
struct BlasThreads {
    std::mutex mutex;
    int scopes = 0, before = 1;
};
BlasThreads& blas_threads();

// Before a fork(): locks the mutex when no thread is in OpenBLAS. In the child, this mutex and those of
// OpenBLAS would never be unlocked otherwise. Large products end later than the limit.
void wait_for_scopes() {
    constexpr int kTries = 1000;
    BlasThreads& threads = blas_threads();
    for (int i = 0;; ++i) {
        threads.mutex.lock();
        if (threads.scopes == 0 || i == kTries) return;
        threads.mutex.unlock();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void forget_scopes() {
    blas_threads().scopes = 0;
    blas_threads().mutex.unlock();
}

BlasThreads& blas_threads() {
    static BlasThreads threads;
    static const int failed = pthread_atfork(
        wait_for_scopes, [] { blas_threads().mutex.unlock(); }, forget_scopes);
    static_cast<void>(failed);  // no memory: a child may wait forever
    return threads;
}
// When the program starts: a fork during the first use would be too early for the handlers.
[[maybe_unused]] const BlasThreads& g_blas_threads = blas_threads();
#endif

}  // namespace

ScopedBlasThreads::ScopedBlasThreads() : team_(1) {
#if defined(GLOW_BLAS_IS_OPENBLAS)
    BlasThreads& threads = blas_threads();
    const std::lock_guard lock(threads.mutex);
    if (threads.scopes++ == 0) threads.before = openblas_get_num_threads();
    if (openblas_get_num_threads() != 1) openblas_set_num_threads(1);
#endif
}

ScopedBlasThreads::~ScopedBlasThreads() {
#if defined(GLOW_BLAS_IS_OPENBLAS)
    BlasThreads& threads = blas_threads();
    const std::lock_guard lock(threads.mutex);
    if (--threads.scopes == 0 && threads.before != 1) openblas_set_num_threads(threads.before);
#endif
}

namespace {

constexpr std::size_t kBufferBytes = std::size_t{129} << 20;  // OpenBLAS's BUFFER_SIZE on x86-64, and a page
constexpr int kMaxBuffers = 64;                               // of its pool's 256 or more

// Whether there is address space for the buffers and for other libraries.
bool can_map(int buffers) {
    std::vector<std::pair<void*, std::size_t>> mapped;
    const auto map = [&mapped](std::size_t bytes) {
        void* const address =
            mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address != MAP_FAILED) mapped.emplace_back(address, bytes);
        return address != MAP_FAILED;
    };
    bool all = map(kLibraryBytes);
    for (int i = 0; i < buffers && all; ++i) all = map(kBufferBytes);
    for (const auto& [address, bytes] : mapped) munmap(address, bytes);
    return all;
}

}  // namespace

std::size_t blas_buffer_bytes([[maybe_unused]] int threads) {
#if defined(GLOW_BLAS_IS_OPENBLAS)
    return kBufferBytes * static_cast<std::size_t>(threads);
#else
    return 0;
#endif
}

void reserve_blas_buffers([[maybe_unused]] int threads) {
#if defined(GLOW_BLAS_IS_OPENBLAS)
    static int reserved = 0;  // like OpenBLAS's pool, of the process
    const std::lock_guard lock(blas_threads().mutex);
    if (threads <= reserved) return;
    if (!can_map(threads - reserved)) {
        const MemoryLimit limit = process_memory_limit();
        throw InputError(fmt::format(
            "OpenBLAS and other libraries need {} of address space for {} thread{}, but {}: {} use fewer "
            "--threads",
            format_bytes(kLibraryBytes + blas_buffer_bytes(threads - reserved)), threads,
            threads > 1 ? "s" : "",
            limit.source.empty() ? "the system does not provide it"
                                 : fmt::format("{} {}", limit.source, format_bytes(limit.bytes)),
            limit.source.empty() ? "end other programs, or" : "raise the limit, or"));
    }
    reserved = threads;
    if (blas_memory_alloc == nullptr || blas_memory_free == nullptr) return;
    std::vector<void*> taken(static_cast<std::size_t>(std::min(threads, kMaxBuffers)));
    for (void*& buffer : taken) buffer = blas_memory_alloc(0);
    for (void* const buffer : taken)
        if (buffer != nullptr) blas_memory_free(buffer);  // back to the pool, still mapped
#endif
}

std::unique_ptr<Blas> make_openblas(int threads) {
    return std::make_unique<OpenBlas>(threads);
}

}  // namespace glow
