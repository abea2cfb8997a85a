/* For LD_PRELOAD: flock() fails with errno GLOW_FLOCK_ERRNO, as on a file system without locks. */
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

int flock(int file, int operation) {
    (void)file;
    (void)operation;
    errno = atoi(getenv("GLOW_FLOCK_ERRNO"));
    return -1;
}
