/* For LD_PRELOAD: every fsync of a rank takes GLOW_SLOW_FSYNC_SECONDS, as on a file system under load. The launcher, which
   syncs what it prints, is as quick as ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fsync(int file) {
    const char* const seconds = getenv("GLOW_SLOW_FSYNC_SECONDS");
    if (seconds && (getenv("OMPI_COMM_WORLD_RANK") || getenv("PMI_RANK")))
        usleep((useconds_t)(atof(seconds) * 1e6));
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
