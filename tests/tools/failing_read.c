/* For LD_PRELOAD: reads of files whose names end in GLOW_UNREADABLE fail, as on a network that is down for a moment. */
#define _GNU_SOURCE
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

ssize_t pread(int file, void* data, size_t bytes, off_t offset) {
    if (fails(file)) return -1;
    return ((ssize_t(*)(int, void*, size_t, off_t))dlsym(RTLD_NEXT, "pread"))(file, data, bytes, offset);
}

ssize_t read(int file, void* data, size_t bytes) {
    if (fails(file)) return -1;
    return ((ssize_t(*)(int, void*, size_t))dlsym(RTLD_NEXT, "read"))(file, data, bytes);
}
