// Replaces libcupti in tests without a GPU: fake_launch() makes the records of a launch, which are delivered
// in the order and through the callbacks of the real library.
#include <cupti.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

CUpti_BuffersCallbackRequestFunc g_request;
CUpti_BuffersCallbackCompleteFunc g_complete;
std::vector<std::vector<std::uint8_t>> g_records;
std::vector<std::uint64_t> g_marks;
std::uint32_t g_correlation = 0;

template <class Record>
void add(const Record& record) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&record);
    g_records.emplace_back(bytes, bytes + sizeof(record));
}

}  // namespace

extern "C" {

CUptiResult CUPTIAPI cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                                                    CUpti_BuffersCallbackCompleteFunc complete) {
    g_request = request;
    g_complete = complete;
    return CUPTI_SUCCESS;
}
CUptiResult CUPTIAPI cuptiActivityEnable(CUpti_ActivityKind) {
    return CUPTI_SUCCESS;
}
CUptiResult CUPTIAPI cuptiActivityPushExternalCorrelationId(CUpti_ExternalCorrelationKind, std::uint64_t id) {
    g_marks.push_back(id);
    return CUPTI_SUCCESS;
}
CUptiResult CUPTIAPI cuptiActivityPopExternalCorrelationId(CUpti_ExternalCorrelationKind,
                                                           std::uint64_t* last) {
    *last = g_marks.back();
    g_marks.pop_back();
    return CUPTI_SUCCESS;
}
CUptiResult CUPTIAPI cuptiGetResultString(CUptiResult, const char** text) {
    *text = "a result";
    return CUPTI_SUCCESS;
}

// A buffer holds one record, whose first bytes say how long it is.
CUptiResult CUPTIAPI cuptiActivityFlushAll(std::uint32_t) {
    for (const auto& record : g_records) {
        std::uint8_t* buffer = nullptr;
        std::size_t size = 0, count = 0;
        g_request(&buffer, &size, &count);
        std::memcpy(buffer, record.data(), record.size());
        g_complete(nullptr, 0, buffer, size, record.size());
    }
    g_records.clear();
    return CUPTI_SUCCESS;
}
CUptiResult CUPTIAPI cuptiActivityGetNextRecord(std::uint8_t* buffer, std::size_t filled,
                                                CUpti_Activity** record) {
    if (*record != nullptr || filled == 0) return CUPTI_ERROR_MAX_LIMIT_REACHED;
    *record = reinterpret_cast<CUpti_Activity*>(buffer);
    return CUPTI_SUCCESS;
}

// A kernel ("": a copy) that ran from one nanosecond to another.
void fake_launch(const char* name, std::uint64_t begin, std::uint64_t end) {
    ++g_correlation;
    if (!g_marks.empty()) {
        CUpti_ActivityExternalCorrelation mark{};
        mark.kind = CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION;
        mark.externalKind = CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0;
        mark.externalId = g_marks.back();
        mark.correlationId = g_correlation;
        add(mark);
    }
    if (*name == '\0') {
        CUpti_ActivityMemcpy5 copy{};
        copy.kind = CUPTI_ACTIVITY_KIND_MEMCPY;
        copy.start = begin;
        copy.end = end;
        copy.correlationId = g_correlation;
        return add(copy);
    }
    CUpti_ActivityKernel9 kernel{};
    kernel.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
    kernel.start = begin;
    kernel.end = end;
    kernel.correlationId = g_correlation;
    kernel.name = name;
    add(kernel);
}

}  // extern "C"
