/* For LD_PRELOAD: every fsync takes GLOW_SLOW_FSYNC_SECONDS, as on a file system under load. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fsync(int file) {
    const char* const seconds = getenv("GLOW_SLOW_FSYNC_SECONDS");
    if (seconds) usleep((useconds_t)(atof(seconds) * 1e6));
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
