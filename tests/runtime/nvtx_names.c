/* What a profiler sees: writes the ranges of a program to the file that NVTX_NAMES says, a line each, two spaces deeper
   for each range around it. NVTX loads it where NVTX_INJECTION64_PATH names it. */
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>

static FILE *file;
static int depth;

static int NVTX_API push(const char *name) {
    if (file != NULL) {
        fprintf(file, "%*s%s\n", 2 * depth, "", name);
        fflush(file);
    }
    return depth++;
}
static int NVTX_API pop(void) {
    return --depth;
}

__attribute__((visibility("default"))) int NVTX_API InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table) {
    const NvtxExportTableCallbacks *const callbacks = get_table(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable table;
    unsigned size;
    if (callbacks == NULL || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size)) return 0;
    *table[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
    *table[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
    const char *const name = getenv("NVTX_NAMES");
    file = name != NULL ? fopen(name, "w") : NULL;
    return 1;
}
