/* For LD_PRELOAD: calls fail as on a network that is down for a moment, for names that end in the value of a variable:
   GLOW_UNREADABLE: every read of the file or folder; GLOW_NO_STATUS: the first stat(); GLOW_NO_FSTAT: the first fstat(). */
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

int stat(const char* name, struct stat* status) {
    static int failed = 0;
    const char* const end = getenv("GLOW_NO_STATUS");
    if (end != NULL && !failed && strlen(name) >= strlen(end) &&
        strcmp(name + strlen(name) - strlen(end), end) == 0) {
        failed = 1;
        errno = EIO;
        return -1;
    }
    return ((int (*)(const char*, struct stat*))dlsym(RTLD_NEXT, "stat"))(name, status);
}

int fstat(int file, struct stat* status) {
    static int failed = 0;
    if (!failed && is_named(file, "GLOW_NO_FSTAT")) {
        failed = 1;
        errno = EIO;
        return -1;
    }
    return ((int (*)(int, struct stat*))dlsym(RTLD_NEXT, "fstat"))(file, status);
}
