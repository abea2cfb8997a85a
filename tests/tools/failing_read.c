/* For LD_PRELOAD: calls fail as on a network that is down for a moment, for names that end in the value of a variable:
   GLOW_UNREADABLE: every read of the file or folder; GLOW_NO_STATUS: the first stat(); GLOW_NO_FSTAT: the first fstat();
   GLOW_NO_LINK_STATUS: every stat() and lstat(); GLOW_NO_SEEK: every lseek(). */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* pread would be another name of pread64 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replace_reads.h"

static int is_named(int file, const char* variable) {
    const char* const end = getenv(variable);
    char link[64], name[4096];
    if (end == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, name, sizeof name - 1), end_length = (ssize_t)strlen(end);
    if (length < end_length) return 0;
    name[length] = 0;
    return strcmp(name + length - end_length, end) == 0;
}

static int fails(int file) {
    if (!is_named(file, "GLOW_UNREADABLE")) return 0;
    errno = EIO;
    return 1;
}

static int before_read(int file) {
    return fails(file);
}

struct dirent* readdir(DIR* folder) {
    if (fails(dirfd(folder))) return NULL;
    return ((struct dirent * (*)(DIR*)) dlsym(RTLD_NEXT, "readdir"))(folder);
}

#define REPLACE(name, offset)                                                          \
    offset name(int file, offset to, int from) {                                       \
        if (is_named(file, "GLOW_NO_SEEK")) {                                          \
            errno = EIO;                                                               \
            return -1;                                                                 \
        }                                                                              \
        return ((offset(*)(int, offset, int))dlsym(RTLD_NEXT, #name))(file, to, from); \
    }
REPLACE(lseek, off_t)
REPLACE(lseek64, off64_t)
#undef REPLACE

struct dirent64* readdir64(DIR* folder) {
    if (fails(dirfd(folder))) return NULL;
    return ((struct dirent64 * (*)(DIR*)) dlsym(RTLD_NEXT, "readdir64"))(folder);
}

static int ends_with(const char* name, const char* variable) {
    const char* const end = getenv(variable);
    return end != NULL && strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

/* Writes a line, by which a test sees that the call was replaced. */
static int fail_status(const char* name) {
    dprintf(STDERR_FILENO, "failing_read: no status of %s\n", name);
    errno = EIO;
    return -1;
}

static int before_lstat(const char* name) {
    return ends_with(name, "GLOW_NO_LINK_STATUS") ? fail_status(name) : 0;
}

static int before_stat(const char* name) {
    static int failed = 0;
    if (before_lstat(name) != 0) return -1;
    if (failed || !ends_with(name, "GLOW_NO_STATUS")) return 0;
    failed = 1;
    return fail_status(name);
}

static int before_fstat(int file) {
    static int failed = 0;
    if (failed || !is_named(file, "GLOW_NO_FSTAT")) return 0;
    failed = 1;
    errno = EIO;
    return -1;
}

/* With 64-bit offsets, and as glibc before 2.33 names them. */
#define REPLACE(name, check, parameters, arguments)                   \
    int name parameters {                                             \
        if (check != 0) return -1;                                    \
        return ((int(*) parameters)dlsym(RTLD_NEXT, #name))arguments; \
    }
REPLACE(stat, before_stat(name), (const char* name, struct stat* status), (name, status))
REPLACE(stat64, before_stat(name), (const char* name, struct stat64* status), (name, status))
REPLACE(__xstat, before_stat(name), (int version, const char* name, struct stat* status),
        (version, name, status))
REPLACE(__xstat64, before_stat(name), (int version, const char* name, struct stat64* status),
        (version, name, status))
REPLACE(lstat, before_lstat(name), (const char* name, struct stat* status), (name, status))
REPLACE(lstat64, before_lstat(name), (const char* name, struct stat64* status), (name, status))
REPLACE(__lxstat, before_lstat(name), (int version, const char* name, struct stat* status),
        (version, name, status))
REPLACE(__lxstat64, before_lstat(name), (int version, const char* name, struct stat64* status),
        (version, name, status))
REPLACE(fstat, before_fstat(file), (int file, struct stat* status), (file, status))
REPLACE(fstat64, before_fstat(file), (int file, struct stat64* status), (file, status))
REPLACE(__fxstat, before_fstat(file), (int version, int file, struct stat* status), (version, file, status))
REPLACE(__fxstat64, before_fstat(file), (int version, int file, struct stat64* status),
        (version, file, status))
