// Conv on cuDNN's graph API: of the engines that its heuristics name, the first one that repeats its results,
// has the requested precision and needs no more than the fixed workspace.
#include "runtime/cudnn_conv.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "kernels/error.h"
#include "runtime/cuda_call.h"
#include "runtime/cudnn.h"
#include "runtime/memory.h"

namespace glow::cuda {
namespace {

cudnnDataType_t cudnn_type_of(Scalar scalar) {
    return scalar == Scalar::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

std::string last_error(const Cudnn& cudnn) {
    char details[256] = "";
    cudnn.last_error_string(details, sizeof details);
    return details;
}
void check(const Cudnn& cudnn, cudnnStatus_t status, const char* call, int line) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    throw_cuda_error(call, static_cast<int>(status),
                     fmt::format("{} {}", cudnn.error_string(status), last_error(cudnn)).c_str(), __FILE__,
                     line);
}
#define GLOW_CUDNN(cudnn, call) check(cudnn, (cudnn).call, #call, __LINE__)

std::string text_of(const Convolution& c) {
    const char* const passes[] = {"", ", data gradient", ", weight gradient"};
    return fmt::format("convolution of {} images {}x{}, {} to {} channels{}", c.N, c.H, c.W, c.in, c.out,
                       passes[static_cast<int>(c.pass)]);
}

// cuDNN lists shapes as N, C, H, W for any memory layout; the strides make it channels last.
CudnnDescriptor tensor(const Cudnn& cudnn, index_t number, cudnnDataType_t type, index_t N, index_t C,
                       index_t H, index_t W, bool in_memory = true) {
    CudnnDescriptor t(cudnn, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    t.set_data_type(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, {N, C, H, W});
    t.set(CUDNN_ATTR_TENSOR_STRIDES, {H * W * C, 1, W * C, C});
    t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, {number});
    t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {pixel_alignment(type, C)});
    const bool is_virtual = !in_memory;
    t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    t.finalize();
    return t;
}

CudnnDescriptor window_of(const Cudnn& cudnn) {
    CudnnDescriptor c(cudnn, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    c.set_data_type(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    c.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2});
    for (const auto name : {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS,
                            CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES})
        c.set(name, {1, 1});
    c.finalize();
    return c;
}

struct Names {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t window, x, w, y, alpha, beta;
};
Names names_of(Convolution::Pass pass) {
    if (pass == Convolution::Pass::forward)
        return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    if (pass == Convolution::Pass::data_gradient)
        return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

CudnnDescriptor operation_of(const Cudnn& cudnn, Convolution::Pass pass, const CudnnDescriptor& x,
                             const CudnnDescriptor& w, const CudnnDescriptor& y,
                             const CudnnDescriptor& window) {
    const Names names = names_of(pass);
    CudnnDescriptor operation(cudnn, names.operation);
    const double one = 1, zero = 0;
    operation.set(names.window, window);
    operation.set(names.x, x);
    operation.set(names.w, w);
    operation.set(names.y, y);
    operation.set(names.alpha, CUDNN_TYPE_DOUBLE, 1, &one);
    operation.set(names.beta, CUDNN_TYPE_DOUBLE, 1, &zero);
    operation.finalize();
    return operation;
}

// The float sums of bf16 products, as the convolution's result and the identity's argument.
std::optional<CudnnDescriptor> sums_of(const Cudnn& cudnn, const Convolution& c) {
    constexpr index_t kSums = 4;
    if (c.operands != Scalar::bf16) return std::nullopt;
    if (c.pass == Convolution::Pass::forward)
        return tensor(cudnn, kSums, CUDNN_DATA_FLOAT, c.N, c.out, c.H, c.W, false);
    if (c.pass == Convolution::Pass::data_gradient)
        return tensor(cudnn, kSums, CUDNN_DATA_FLOAT, c.N, c.in, c.H, c.W, false);
    return tensor(cudnn, kSums, CUDNN_DATA_FLOAT, c.out, c.in, 3, 3, false);
}

// to = from, rounded to its type.
CudnnDescriptor identity_of(const Cudnn& cudnn, const CudnnDescriptor& from, const CudnnDescriptor& to) {
    CudnnDescriptor pointwise(cudnn, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_IDENTITY;
    pointwise.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    pointwise.set_data_type(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    pointwise.finalize();
    CudnnDescriptor operation(cudnn, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to);
    operation.finalize();
    return operation;
}

// The type in memory of one of x, w, y: that of the operands, unless it is the pass's result.
cudnnDataType_t type_in(const Convolution& c, Convolution::Pass where_result) {
    return cudnn_type_of(c.pass == where_result ? c.result : c.operands);
}

}  // namespace

CudnnDescriptor::CudnnDescriptor(const Cudnn& cudnn, cudnnBackendDescriptorType_t type) : cudnn_(&cudnn) {
    GLOW_CUDNN(cudnn, create_descriptor(type, &handle_));
}
CudnnDescriptor::~CudnnDescriptor() {
    if (handle_ != nullptr) static_cast<void>(cudnn_->destroy_descriptor(handle_));
}
CudnnDescriptor::CudnnDescriptor(CudnnDescriptor&& other) noexcept
    : cudnn_(other.cudnn_), handle_(std::exchange(other.handle_, nullptr)) {}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, index_t count,
                          const void* values) {
    GLOW_CUDNN(*cudnn_, set_attribute(handle_, name, type, count, values));
}
void CudnnDescriptor::set(cudnnBackendAttributeName_t name, const CudnnDescriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.handle_);
}
void CudnnDescriptor::set(cudnnBackendAttributeName_t name, const std::vector<index_t>& values) {
    set(name, CUDNN_TYPE_INT64, std::ssize(values), values.data());
}
void CudnnDescriptor::set_data_type(cudnnBackendAttributeName_t name, cudnnDataType_t type) {
    set(name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}
index_t CudnnDescriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, index_t most,
                             void* values) const {
    index_t count = 0;
    GLOW_CUDNN(*cudnn_, get_attribute(handle_, name, type, most, &count, values));
    return std::min(count, most);
}
void CudnnDescriptor::finalize() {
    GLOW_CUDNN(*cudnn_, finalize(handle_));
}
bool CudnnDescriptor::try_finalize() {
    return cudnn_->finalize(handle_) == CUDNN_STATUS_SUCCESS;
}

ConvDescription::ConvDescription(const Cudnn& cudnn, const Convolution& c)
    : x(tensor(cudnn, kX, type_in(c, Convolution::Pass::data_gradient), c.N, c.in, c.H, c.W)),
      w(tensor(cudnn, kW, type_in(c, Convolution::Pass::weight_gradient), c.out, c.in, 3, 3)),
      y(tensor(cudnn, kY, type_in(c, Convolution::Pass::forward), c.N, c.out, c.H, c.W)),
      window(window_of(cudnn)),
      sums(sums_of(cudnn, c)),
      operation(operation_of(cudnn, c.pass, sums && c.pass == Convolution::Pass::data_gradient ? *sums : x,
                             sums && c.pass == Convolution::Pass::weight_gradient ? *sums : w,
                             sums && c.pass == Convolution::Pass::forward ? *sums : y, window)),
      graph(cudnn, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    std::vector<cudnnBackendDescriptor_t> operations = {operation.handle()};
    if (sums) {
        const CudnnDescriptor* const results[] = {&y, &x, &w};  // of forward, data_gradient, weight_gradient
        identity.emplace(identity_of(cudnn, *sums, *results[static_cast<int>(c.pass)]));
        operations.push_back(identity->handle());
    }
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(operations),
              operations.data());
}

std::vector<OfferedEngine> offered_engines(const Cudnn& cudnn, const CudnnDescriptor& graph,
                                           const CudnnDescriptor* device, std::string& problem) {
    constexpr index_t kMost = 16;
    std::vector<OfferedEngine> engines;
    for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
        CudnnDescriptor heuristic(cudnn, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
        heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
        heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
        if (device != nullptr) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device);
        if (!heuristic.try_finalize()) {
            problem = last_error(cudnn);
            continue;
        }
        // The library fills existing descriptors.
        std::vector<CudnnDescriptor> configurations;
        std::vector<cudnnBackendDescriptor_t> handles;
        for (index_t i = 0; i < kMost; ++i) {
            configurations.emplace_back(cudnn, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
            handles.push_back(configurations.back().handle());
        }
        const index_t count = heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                            kMost, handles.data());
        if (count == 0) problem = last_error(cudnn);
        for (index_t i = 0; i < count; ++i) {
            CudnnDescriptor& configuration = configurations[static_cast<std::size_t>(i)];
            const CudnnDescriptor engine(cudnn, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
            cudnnBackendDescriptor_t handle = engine.handle();
            configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
            const auto number = engine.get<index_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1);
            engines.push_back({number.empty() ? -1 : number[0],
                               engine.get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                       CUDNN_TYPE_NUMERICAL_NOTE,
                                                                       CUDNN_NUMERICAL_NOTE_TYPE_COUNT),
                               std::move(configuration)});
        }
    }
    return engines;
}

index_t pixel_alignment(cudnnDataType_t type, index_t channels) {
    const index_t bytes = channels * (type == CUDNN_DATA_BFLOAT16 ? 2 : 4);
    return std::min<index_t>(bytes & -bytes, static_cast<index_t>(kAlignment));
}

bool engine_allowed(Scalar operands, const std::vector<cudnnBackendNumericalNote_t>& notes) {
    return std::none_of(notes.begin(), notes.end(), [operands](cudnnBackendNumericalNote_t note) {
        switch (note) {
            case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
            case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
            case CUDNN_NUMERICAL_NOTE_FFT:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
                return true;
            // Tensor cores on float operands mean tf32.
            case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
                return operands == Scalar::f32;
            case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
                return operands != Scalar::tf32;
            default:
                return false;
        }
    });
}

namespace {

// A plan and the descriptors that must outlive it.
struct Plan {
    std::optional<ConvDescription> description;
    std::optional<CudnnDescriptor> configuration, execution;
};

class CudnnConv : public Conv {
  public:
    explicit CudnnConv(const Exec& exec) : exec_(exec) {}
    ~CudnnConv() override {
        plans_.clear();
        if (handle_ != nullptr) static_cast<void>(cudnn_->destroy(handle_));
    }

    bool has(const Convolution& c) override {
        open();
        return cudnn_ != nullptr && plan_of(c).execution.has_value();
    }

    std::size_t scratch_bytes() const override { return kConvWorkspace + kConvAlignment; }

    void run(const Convolution& c, const void* first, const void* second, void* result,
             void* scratch) override {
        if (!has(c)) throw Error("cuDNN has no engine for the " + text_of(c) + problem_);
        const auto at =
            (reinterpret_cast<std::size_t>(scratch) + kConvAlignment - 1) / kConvAlignment * kConvAlignment;
        // Order x, w, y; the pass determines which one is the result.
        const void* pointers[3] = {first, second, result};
        if (c.pass == Convolution::Pass::data_gradient) {
            pointers[0] = result;
            pointers[2] = first;
        } else if (c.pass == Convolution::Pass::weight_gradient) {
            pointers[1] = result;
            pointers[2] = second;
        }
        void* const workspace = reinterpret_cast<void*>(at);
        CudnnDescriptor pack(*cudnn_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                 {ConvDescription::kX, ConvDescription::kW, ConvDescription::kY});
        pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers);
        pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
        pack.finalize();
        GLOW_CUDNN(*cudnn_, execute(handle_, plan_of(c).execution->handle(), pack.handle()));
    }

    void set_log(std::function<void(const std::string&)> log) override { log_ = std::move(log); }

  private:
    void open() {
        if (opened_) return;
        opened_ = true;
        cudnn_ = load_cudnn(problem_);
        if (cudnn_ == nullptr) {
            log_("no cuDNN: " + problem_);
            problem_ = ": " + problem_;
            return;
        }
        GLOW_CUDNN(*cudnn_, create(&handle_));
        GLOW_CUDNN(*cudnn_, set_stream(handle_, stream_of(exec_)));
    }

    const Plan& plan_of(const Convolution& c) {
        const auto found = plans_.find(c);
        if (found != plans_.end()) return found->second;
        return plans_.emplace(c, make_plan(c)).first->second;
    }

    // `execution` stays empty if there is no engine.
    Plan make_plan(const Convolution& c) {
        Plan plan;
        if (c.operands == Scalar::f64) return plan;
        CudnnDescriptor& graph = plan.description.emplace(*cudnn_, c).graph;
        graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_);
        if (!graph.try_finalize()) {
            log_(fmt::format("{}: cuDNN rejects the graph: {}", text_of(c), last_error(*cudnn_)));
            return plan;
        }
        std::string problem;
        std::vector<OfferedEngine> engines = offered_engines(*cudnn_, graph, nullptr, problem);
        if (engines.empty()) log_(fmt::format("{}: cuDNN names no engine: {}", text_of(c), problem));
        for (OfferedEngine& engine : engines) {
            const std::string answer = try_engine(c, engine, plan);
            log_(fmt::format("{}: cuDNN engine {}: {}", text_of(c), engine.number, answer));
            if (plan.execution) break;
        }
        return plan;
    }

    // Sets `plan` to the engine if it is allowed and supports the graph. Returns a description of the result.
    std::string try_engine(const Convolution& c, OfferedEngine& engine, Plan& plan) {
        if (!engine_allowed(c.operands, engine.notes)) {
            std::string notes;
            for (const cudnnBackendNumericalNote_t note : engine.notes)
                notes += fmt::format(" {}", static_cast<int>(note));
            return "not allowed, numerical notes" + notes;
        }
        CudnnDescriptor execution(*cudnn_, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        execution.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine.configuration);
        execution.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_);
        // An engine that the heuristics name may still reject this graph.
        if (!execution.try_finalize()) return "refused: " + last_error(*cudnn_);
        const auto bytes =
            execution.get<index_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1);
        if (bytes.empty() || bytes[0] > static_cast<index_t>(kConvWorkspace))
            return fmt::format("needs {} bytes of workspace, more than {}", bytes.empty() ? -1 : bytes[0],
                               kConvWorkspace);
        plan.configuration.emplace(std::move(engine.configuration));
        plan.execution.emplace(std::move(execution));
        return fmt::format("taken, {} bytes of workspace", bytes[0]);
    }

    Exec exec_;
    bool opened_ = false;
    std::string problem_;
    std::function<void(const std::string&)> log_ = [](const std::string&) {};
    std::shared_ptr<const Cudnn> cudnn_;
    cudnnHandle_t handle_ = nullptr;
    std::map<Convolution, Plan> plans_;
};

}  // namespace

std::unique_ptr<Conv> make_conv(const Exec& exec) {
    return std::make_unique<CudnnConv>(exec);
}

std::string cudnn_version() {
    std::string problem;
    const auto cudnn = load_cudnn(problem);
    if (cudnn == nullptr) return "no";
    const std::size_t version = cudnn->version();
    return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace glow::cuda
