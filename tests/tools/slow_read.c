/* For LD_PRELOAD: if file GLOW_SLOW_READ exists, the next read of d.h5 removes it and takes 5 seconds. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* pread would be another name of pread64 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_if_slow(int file) {
    const char* const flag = getenv("GLOW_SLOW_READ");
    const char end[] = "/d.h5";
    char link[64], name[4096];
    if (flag == NULL || access(flag, F_OK) != 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < (ssize_t)(sizeof end - 1)) return;
    name[length] = 0;
    if (strcmp(name + length - (sizeof end - 1), end) == 0 && unlink(flag) == 0) sleep(5);
}

/* All forms of one call: with 64-bit offsets, and as the compiler replaces it with -D_FORTIFY_SOURCE. */
#define REPLACE(name, parameters, arguments)                                  \
    ssize_t name parameters {                                                 \
        wait_if_slow(file);                                                   \
        return ((ssize_t(*) parameters)dlsym(RTLD_NEXT, #name))arguments;     \
    }
REPLACE(read, (int file, void* data, size_t bytes), (file, data, bytes))
REPLACE(__read_chk, (int file, void* data, size_t bytes, size_t size), (file, data, bytes, size))
REPLACE(pread, (int file, void* data, size_t bytes, off_t offset), (file, data, bytes, offset))
REPLACE(pread64, (int file, void* data, size_t bytes, off64_t offset), (file, data, bytes, offset))
REPLACE(__pread_chk, (int file, void* data, size_t bytes, off_t offset, size_t size), (file, data, bytes, offset, size))
REPLACE(__pread64_chk, (int file, void* data, size_t bytes, off64_t offset, size_t size), (file, data, bytes, offset, size))
