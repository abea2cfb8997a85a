/* For LD_PRELOAD: while file GLOW_FULL exists, the disk is full as on NFS: writes to metrics.csv, or to names that end in
   GLOW_FULL_NAME, go to the client's cache and succeed, but are lost, which only closing the file reports. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char lost[1024]; /* by descriptor */

static int is_full(int file) {
    const char *const flag = getenv("GLOW_FULL"), *const given = getenv("GLOW_FULL_NAME");
    const char* const end = given != NULL ? given : "/metrics.csv";
    const ssize_t end_length = (ssize_t)strlen(end);
    char link[64], name[4096];
    if (flag == NULL || access(flag, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < end_length) return 0;
    name[length] = 0;
    return strcmp(name + length - end_length, end) == 0;
}

static int loses(int file) {
    const int full = file >= 0 && file < (int)sizeof lost && is_full(file);
    if (full) lost[file] = 1;
    return full;
}

static int has_lost(int file) {
    const int failed = file >= 0 && file < (int)sizeof lost && lost[file];
    if (failed) lost[file] = 0;
    return failed;
}

static int closed(int code, int failed) {
    if (!failed) return code;
    errno = ENOSPC;
    return -1;
}

ssize_t write(int file, const void* data, size_t bytes) {
    if (loses(file)) return (ssize_t)bytes;
    return ((ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write"))(file, data, bytes);
}

ssize_t writev(int file, const struct iovec* parts, int count) {
    ssize_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += (ssize_t)parts[i].iov_len;
    if (loses(file)) return bytes;
    return ((ssize_t(*)(int, const struct iovec*, int))dlsym(RTLD_NEXT, "writev"))(file, parts, count);
}

/* The C library's printf() does not call write() of this file, so what it wrote to standard output counts as lost. */
static int is_output(int file) {
    struct stat one, output;
    return fstat(file, &one) == 0 && fstat(STDOUT_FILENO, &output) == 0 && one.st_dev == output.st_dev &&
           one.st_ino == output.st_ino && is_full(file);
}

int close(int file) {
    const int failed = has_lost(file) || is_output(file);
    return closed(((int (*)(int))dlsym(RTLD_NEXT, "close"))(file), failed);
}

int fclose(FILE* stream) {
    const int failed = has_lost(fileno(stream));
    return closed(((int (*)(FILE*))dlsym(RTLD_NEXT, "fclose"))(stream), failed);
}
