// The engines that cuDNN names for the convolutions of the coupling networks on an H200. Needs no GPU,
// because cuDNN accepts a description of one; whether the engines run is tested on a GPU.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/cudnn_conv.h"

namespace glow::cuda {
namespace {

constexpr const char* kH200 =
    R"({"deviceName":"NVIDIA H200","deviceVer":900,"driverVer":13000,"cudaDeviceId":0,
"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":132,
"warpSize":32,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,"reservedSharedMemoryPerBlock":1024,
"maxRegistersPerSM":65536,"maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,
"isTccDriver":0,"supportCoopLaunch":1,"smClockRateKHz":1980000,"memClockRateKHz":3201000,"l2CacheSize":62914560,
"totalGlobalMem":150000000000})";

class CudnnOffers : public testing::Test {
  protected:
    void SetUp() override {
        // Engines that NVRTC compiles are named only where there is a driver.
        if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr &&
            dlopen(GLOW_CUDA_STUB, RTLD_NOW | RTLD_GLOBAL) == nullptr)
            GTEST_SKIP() << "neither a driver nor the toolkit's stub of one";
        std::string problem;
        cudnn_ = load_cudnn(problem);
        if (cudnn_ == nullptr) GTEST_SKIP() << problem;
        if (cudnn_->version() < 91100) GTEST_SKIP() << "this cuDNN takes no description of a device";
    }

    // Engines that may run the convolution.
    index_t allowed(const Convolution& c) {
        CudnnDescriptor device(*cudnn_, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
        const std::string text = kH200;
        device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::ssize(text), text.data());
        device.finalize();
        ConvDescription description(*cudnn_, c);
        description.graph.finalize();
        std::string problem;
        const auto engines = offered_engines(*cudnn_, description.graph, &device, problem);
        return std::count_if(engines.begin(), engines.end(), [&](const OfferedEngine& engine) {
            return engine_allowed(c.operands, engine.notes);
        });
    }

  private:
    std::shared_ptr<const Cudnn> cudnn_;
};

// Of each level of the published CIFAR-10 model.
TEST_F(CudnnOffers, EnginesForEveryPassAndPrecision) {
    using Pass = Convolution::Pass;
    for (const Scalar operands : {Scalar::bf16, Scalar::tf32, Scalar::f32})
        for (index_t level = 0; level < 3; ++level)
            for (const Pass pass : {Pass::forward, Pass::data_gradient, Pass::weight_gradient}) {
                const bool narrow = operands == Scalar::bf16 && pass == Pass::data_gradient;
                const Convolution c{.pass = pass,
                                    .N = index_t{256} << level,
                                    .H = 16 >> level,
                                    .W = 16 >> level,
                                    .in = 512,
                                    .out = index_t{12} << level,
                                    .operands = operands,
                                    .result = narrow ? Scalar::bf16 : Scalar::f32};
                EXPECT_GT(allowed(c), 0) << "operands " << static_cast<int>(operands) << ", level " << level
                                         << ", pass " << static_cast<int>(pass);
            }
}

}  // namespace
}  // namespace glow::cuda
