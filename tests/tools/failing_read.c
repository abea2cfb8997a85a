/* For LD_PRELOAD: reads of files whose names end in GLOW_UNREADABLE fail, as on a network that is down for a moment. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* pread would be another name of pread64 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int file) {
    const char* const end = getenv("GLOW_UNREADABLE");
    char link[64], name[4096];
    if (end == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, name, sizeof name - 1), end_length = (ssize_t)strlen(end);
    if (length < end_length) return 0;
    name[length] = 0;
    if (strcmp(name + length - end_length, end) != 0) return 0;
    errno = EIO;
    return 1;
}

/* All forms of one call: with 64-bit offsets, and as the compiler replaces it with -D_FORTIFY_SOURCE. */
#define REPLACE(name, parameters, arguments)                                  \
    ssize_t name parameters {                                                 \
        if (fails(file)) return -1;                                           \
        return ((ssize_t(*) parameters)dlsym(RTLD_NEXT, #name))arguments;     \
    }
REPLACE(read, (int file, void* data, size_t bytes), (file, data, bytes))
REPLACE(__read_chk, (int file, void* data, size_t bytes, size_t size), (file, data, bytes, size))
REPLACE(pread, (int file, void* data, size_t bytes, off_t offset), (file, data, bytes, offset))
REPLACE(pread64, (int file, void* data, size_t bytes, off64_t offset), (file, data, bytes, offset))
REPLACE(__pread_chk, (int file, void* data, size_t bytes, off_t offset, size_t size), (file, data, bytes, offset, size))
REPLACE(__pread64_chk, (int file, void* data, size_t bytes, off64_t offset, size_t size), (file, data, bytes, offset, size))
