/* For LD_PRELOAD: while file GLOW_FULL exists, the disk is full as on NFS: writes to metrics.csv go to the client's cache
   and succeed, but are lost, which only close() reports. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char lost[1024]; /* by descriptor */

static int is_full(int file) {
    const char* const flag = getenv("GLOW_FULL");
    const char end[] = "/metrics.csv";
    char link[64], name[4096];
    if (flag == NULL || access(flag, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < (ssize_t)(sizeof end - 1)) return 0;
    name[length] = 0;
    return strcmp(name + length - (sizeof end - 1), end) == 0;
}

ssize_t write(int file, const void* data, size_t bytes) {
    if (file >= 0 && file < (int)sizeof lost && is_full(file)) {
        lost[file] = 1;
        return (ssize_t)bytes;
    }
    return ((ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write"))(file, data, bytes);
}

int close(int file) {
    const int failed = file >= 0 && file < (int)sizeof lost && lost[file];
    if (failed) lost[file] = 0;
    const int code = ((int (*)(int))dlsym(RTLD_NEXT, "close"))(file);
    if (!failed) return code;
    errno = ENOSPC;
    return -1;
}
