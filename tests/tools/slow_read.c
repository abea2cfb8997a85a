/* For LD_PRELOAD: if file GLOW_SLOW_READ exists, the next read of d.h5 removes it and takes 5 seconds. */
#define _GNU_SOURCE
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

ssize_t pread(int file, void* data, size_t bytes, off_t offset) {
    wait_if_slow(file);
    return ((ssize_t(*)(int, void*, size_t, off_t))dlsym(RTLD_NEXT, "pread"))(file, data, bytes, offset);
}

ssize_t pread64(int file, void* data, size_t bytes, off64_t offset) {
    wait_if_slow(file);
    return ((ssize_t(*)(int, void*, size_t, off64_t))dlsym(RTLD_NEXT, "pread64"))(file, data, bytes, offset);
}

ssize_t read(int file, void* data, size_t bytes) {
    wait_if_slow(file);
    return ((ssize_t(*)(int, void*, size_t))dlsym(RTLD_NEXT, "read"))(file, data, bytes);
}
