// Defines the functions of the libraries that Glow calls, each forwarding to its library. A call of one that
// is not listed here is an undefined reference when programs are linked: add it with its number of
// parameters.
#include "runtime/cuda_libraries.h"

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cusolverDn.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <tuple>

#include "kernels/error.h"

namespace {

#define TEXT_OF(value) #value
#define VERSION_TEXT(value) TEXT_OF(value)

// From the dynamic linker's search path, or from where the build found it. cmake/bundle.sh looks for the
// names in programs.
void* open_library(const char* name) {
    const int mode = RTLD_LAZY | RTLD_LOCAL;
    if (void* const library = dlopen(name, mode)) return library;
    if (void* const library = dlopen((GLOW_CUDA_LIBRARY_FOLDER "/" + std::string(name)).c_str(), mode))
        return library;
    throw glow::InputError(fmt::format(
        "cannot load {}: install the libraries of CUDA {}, or set LD_LIBRARY_PATH to their folder", name,
        CUBLAS_VER_MAJOR));
}

// All at once, so that none is loaded while a CUDA graph is captured. Never closed: vendor libraries may be
// needed until the process exits.
struct Libraries {
    void* lt = open_library("libcublasLt.so." VERSION_TEXT(CUBLAS_VER_MAJOR));
    void* blas = open_library("libcublas.so." VERSION_TEXT(CUBLAS_VER_MAJOR));
    void* solver = open_library("libcusolver.so." VERSION_TEXT(CUSOLVER_VER_MAJOR));
};

const Libraries& libraries() {
    static const Libraries opened;
    return opened;
}

template <class Function>
Function* find(void* library, const char* name) {
    void* const function = dlsym(library, name);
    if (function == nullptr) throw glow::Error(dlerror());
    return reinterpret_cast<Function*>(function);
}

template <class Function>
struct Signature;
template <class R, class... Parameters>
struct Signature<R(Parameters...)> {
    using Result = R;
    template <std::size_t i>
    using Parameter = std::tuple_element_t<i, std::tuple<Parameters...>>;
};

}  // namespace

// clang-format off
#define PARAMETER(f, i, name) Signature<decltype(f)>::Parameter<i> name
#define PARAMETERS_0(f)
#define PARAMETERS_1(f) PARAMETER(f, 0, a)
#define PARAMETERS_2(f) PARAMETERS_1(f), PARAMETER(f, 1, b)
#define PARAMETERS_3(f) PARAMETERS_2(f), PARAMETER(f, 2, c)
#define PARAMETERS_4(f) PARAMETERS_3(f), PARAMETER(f, 3, d)
#define PARAMETERS_5(f) PARAMETERS_4(f), PARAMETER(f, 4, e)
#define PARAMETERS_7(f) PARAMETERS_5(f), PARAMETER(f, 5, g), PARAMETER(f, 6, h)
#define PARAMETERS_9(f) PARAMETERS_7(f), PARAMETER(f, 7, i), PARAMETER(f, 8, j)
#define PARAMETERS_10(f) PARAMETERS_9(f), PARAMETER(f, 9, k)
#define PARAMETERS_13(f) PARAMETERS_10(f), PARAMETER(f, 10, l), PARAMETER(f, 11, m), PARAMETER(f, 12, n)
#define PARAMETERS_14(f) PARAMETERS_13(f), PARAMETER(f, 13, o)
#define PARAMETERS_16(f) PARAMETERS_14(f), PARAMETER(f, 14, p), PARAMETER(f, 15, q)
#define ARGUMENTS_0
#define ARGUMENTS_1 a
#define ARGUMENTS_2 a, b
#define ARGUMENTS_3 a, b, c
#define ARGUMENTS_4 a, b, c, d
#define ARGUMENTS_5 a, b, c, d, e
#define ARGUMENTS_7 a, b, c, d, e, g, h
#define ARGUMENTS_9 a, b, c, d, e, g, h, i, j
#define ARGUMENTS_10 a, b, c, d, e, g, h, i, j, k
#define ARGUMENTS_13 a, b, c, d, e, g, h, i, j, k, l, m, n
#define ARGUMENTS_14 a, b, c, d, e, g, h, i, j, k, l, m, n, o
#define ARGUMENTS_16 a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q

// Hidden, so that calls between the libraries do not come here.
#define FORWARD(library, function, count) \
    __attribute__((visibility("hidden"))) Signature<decltype(function)>::Result function(PARAMETERS_##count(function)) { \
        static const auto found = find<decltype(function)>(libraries().library, TEXT_OF(function)); \
        return found(ARGUMENTS_##count); \
    }
// clang-format on

extern "C" {

FORWARD(blas, cublasCreate_v2, 1)
FORWARD(blas, cublasDestroy_v2, 1)
FORWARD(blas, cublasDgetrfBatched, 7)
FORWARD(blas, cublasDgetriBatched, 9)
FORWARD(blas, cublasGetStatusString, 1)
FORWARD(blas, cublasSetStream_v2, 2)
FORWARD(lt, cublasLtCreate, 1)
FORWARD(lt, cublasLtDestroy, 1)
FORWARD(lt, cublasLtGetVersion, 0)
FORWARD(lt, cublasLtMatmul, 16)
FORWARD(lt, cublasLtMatmulAlgoGetHeuristic, 10)
FORWARD(lt, cublasLtMatmulDescCreate, 3)
FORWARD(lt, cublasLtMatmulDescDestroy, 1)
FORWARD(lt, cublasLtMatmulDescGetAttribute, 5)
FORWARD(lt, cublasLtMatmulDescSetAttribute, 4)
FORWARD(lt, cublasLtMatmulPreferenceCreate, 1)
FORWARD(lt, cublasLtMatmulPreferenceDestroy, 1)
FORWARD(lt, cublasLtMatmulPreferenceGetAttribute, 5)
FORWARD(lt, cublasLtMatmulPreferenceSetAttribute, 4)
FORWARD(lt, cublasLtMatrixLayoutCreate, 5)
FORWARD(lt, cublasLtMatrixLayoutDestroy, 1)
FORWARD(lt, cublasLtMatrixLayoutGetAttribute, 5)
FORWARD(solver, cusolverDnCreate, 1)
FORWARD(solver, cusolverDnCreateParams, 1)
FORWARD(solver, cusolverDnDestroy, 1)
FORWARD(solver, cusolverDnDestroyParams, 1)
FORWARD(solver, cusolverDnSetDeterministicMode, 2)
FORWARD(solver, cusolverDnSetStream, 2)
FORWARD(solver, cusolverDnXgetrf, 14)
FORWARD(solver, cusolverDnXgetrf_bufferSize, 10)
FORWARD(solver, cusolverDnXgetrs, 13)
FORWARD(solver, cusolverGetVersion, 1)

}  // extern "C"

std::string glow::cuda::load_libraries() try {
    libraries();
    return "";
} catch (const InputError& error) {
    return error.what();
}
