/* For LD_PRELOAD: symlink() fails with EPERM, as on a FAT file system. So does link() if GLOW_NO_HARD_LINKS is set. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int symlink(const char* target, const char* name) {
    (void)target;
    (void)name;
    errno = EPERM;
    return -1;
}

int link(const char* target, const char* name) {
    if (getenv("GLOW_NO_HARD_LINKS") == NULL) return linkat(AT_FDCWD, target, AT_FDCWD, name, 0);
    errno = EPERM;
    return -1;
}
