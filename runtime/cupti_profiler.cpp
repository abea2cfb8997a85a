// CUPTI's activity records of kernels, copies and memsets; marks are its external correlation.
#include <cuda_runtime_api.h>
#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "kernels/error.h"
#include "runtime/kernel_profiler.h"

namespace glow {
namespace {

// Of the buffers that CUPTI fills, and of its records in them.
constexpr std::size_t kActivityBytes = std::size_t{8} << 20, kRecordAlignment = 8;

struct Cupti {
    decltype(&cuptiActivityRegisterCallbacks) register_callbacks;
    decltype(&cuptiActivityEnable) enable;
    decltype(&cuptiActivityFlushAll) flush_all;
    decltype(&cuptiActivityGetNextRecord) next_record;
    decltype(&cuptiActivityPushExternalCorrelationId) push_correlation;
    decltype(&cuptiActivityPopExternalCorrelationId) pop_correlation;
    decltype(&cuptiGetResultString) result_string;
};

template <class F>
bool find(void* library, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
}

Cupti load(const std::string& file) {
    const std::string name = fmt::format("libcupti.so.{}", CUDART_VERSION / 1000);
    std::vector<std::string> files = {file};
    if (file.empty()) {
        files = {name};
        const char* const home = std::getenv("CUDA_HOME");
        for (const std::string& toolkit :
             {std::string(home != nullptr ? home : ""), std::string("/usr/local/cuda")})
            if (!toolkit.empty()) files.push_back(toolkit + "/extras/CUPTI/lib64/" + name);
    }
    void* library = nullptr;
    std::string problem;
    for (const std::string& each : files) {
        if (library == nullptr) library = dlopen(each.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr && problem.empty()) problem = dlerror();
    }
    if (library == nullptr)
        throw InputError(
            fmt::format("recording kernels needs CUPTI: {}; add its folder to LD_LIBRARY_PATH: a toolkit's "
                        "extras/CUPTI/lib64 or a Python package's nvidia/*/lib",
                        problem));
    Cupti cupti{};
    const bool whole = find(library, "cuptiActivityRegisterCallbacks", cupti.register_callbacks) &&
                       find(library, "cuptiActivityEnable", cupti.enable) &&
                       find(library, "cuptiActivityFlushAll", cupti.flush_all) &&
                       find(library, "cuptiActivityGetNextRecord", cupti.next_record) &&
                       find(library, "cuptiActivityPushExternalCorrelationId", cupti.push_correlation) &&
                       find(library, "cuptiActivityPopExternalCorrelationId", cupti.pop_correlation) &&
                       find(library, "cuptiGetResultString", cupti.result_string);
    if (!whole) throw InputError("libcupti does not have the required functions: check its version");
    return cupti;
}

std::string demangled(const char* name) {
    int status = 0;
    char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = text != nullptr ? text : name;
    std::free(text);
    return result;
}

// CUPTI's callbacks have no user argument, so there is one profiler per process.
class CuptiProfiler;
CuptiProfiler* g_profiler = nullptr;

class CuptiProfiler : public KernelProfiler {
  public:
    explicit CuptiProfiler(const std::string& file) : cupti_(load(file)) {
        if (g_profiler != nullptr) throw Error("another kernel profiler is already recording");
        check(cupti_.register_callbacks(give_buffer, take_buffer), "cuptiActivityRegisterCallbacks");
        g_profiler = this;
        try {
            // Record calls too, because marks are attached to them.
            for (const CUpti_ActivityKind kind :
                 {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                  CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION,
                  CUPTI_ACTIVITY_KIND_RUNTIME, CUPTI_ACTIVITY_KIND_DRIVER})
                check(cupti_.enable(kind), "cuptiActivityEnable");
        } catch (...) {
            g_profiler = nullptr;
            throw;
        }
    }
    ~CuptiProfiler() override {
        cupti_.flush_all(1);
        g_profiler = nullptr;
    }

    void mark(std::uint64_t mark) override {
        std::uint64_t last = 0;
        if (marked_) cupti_.pop_correlation(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, &last);
        marked_ = cupti_.push_correlation(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, mark) == CUPTI_SUCCESS;
    }

    std::vector<KernelRecord> take() override {
        check(cupti_.flush_all(1), "cuptiActivityFlushAll");
        const std::lock_guard lock(mutex_);
        std::stable_sort(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
        std::vector<KernelRecord> records;
        for (Entry& entry : entries_) {
            const auto found = marks_.find(entry.correlation);
            records.push_back({std::move(entry.name), static_cast<double>(entry.end - entry.begin) * 1e-9,
                               found == marks_.end() ? 0 : found->second});
        }
        entries_.clear();
        marks_.clear();
        return records;
    }

  private:
    struct Entry {
        std::string name;
        std::uint64_t begin, end;
        std::uint32_t correlation;
    };

    void check(CUptiResult result, const char* call) const {
        if (result == CUPTI_SUCCESS) return;
        const char* text = "";
        cupti_.result_string(result, &text);
        throw Error(fmt::format("{} failed: {}", call, text));
    }

    static void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* records) {
        *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(kRecordAlignment, kActivityBytes));
        *size = *buffer != nullptr ? kActivityBytes : 0;
        *records = 0;
    }
    static void CUPTIAPI take_buffer(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t,
                                     std::size_t filled) {
        if (g_profiler != nullptr) g_profiler->read(buffer, filled);
        std::free(buffer);
    }
    void read(std::uint8_t* buffer, std::size_t filled) {
        const std::lock_guard lock(mutex_);
        for (CUpti_Activity* record = nullptr;
             cupti_.next_record(buffer, filled, &record) == CUPTI_SUCCESS;) {
            switch (record->kind) {
                case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
                case CUPTI_ACTIVITY_KIND_KERNEL: {
                    const auto& kernel = *reinterpret_cast<const CUpti_ActivityKernel9*>(record);
                    entries_.push_back(
                        {name_of(kernel.name), kernel.start, kernel.end, kernel.correlationId});
                    break;
                }
                case CUPTI_ACTIVITY_KIND_MEMCPY: {
                    const auto& copy = *reinterpret_cast<const CUpti_ActivityMemcpy5*>(record);
                    entries_.push_back({"[copy]", copy.start, copy.end, copy.correlationId});
                    break;
                }
                case CUPTI_ACTIVITY_KIND_MEMSET: {
                    const auto& set = *reinterpret_cast<const CUpti_ActivityMemset4*>(record);
                    entries_.push_back({"[set]", set.start, set.end, set.correlationId});
                    break;
                }
                case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
                    const auto& mark = *reinterpret_cast<const CUpti_ActivityExternalCorrelation*>(record);
                    marks_[mark.correlationId] = mark.externalId;
                    break;
                }
                default:
                    break;
            }
        }
    }
    const std::string& name_of(const char* mangled) {
        const auto found = names_.find(mangled);
        return found != names_.end() ? found->second
                                     : names_.emplace(mangled, demangled(mangled)).first->second;
    }

    Cupti cupti_;
    bool marked_ = false;
    std::mutex mutex_;  // CUPTI hands buffers over on a thread of its own
    std::vector<Entry> entries_;
    std::map<std::uint32_t, std::uint64_t> marks_;  // by correlation
    std::map<std::string, std::string> names_;
};

}  // namespace

std::unique_ptr<KernelProfiler> open_kernel_profiler(const std::string& file) {
    return std::make_unique<CuptiProfiler>(file);
}

}  // namespace glow
