/* For LD_PRELOAD: names of pictures are the same in upper and lower case, as on a case-insensitive file system. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The path, with its last part in lower case if that ends in .png. */
static const char* folded(const char* path, char* buffer) {
    const size_t length = strlen(path);
    if (length < 4 || length >= 4096 || strcmp(path + length - 4, ".png") != 0) return path;
    strcpy(buffer, path);
    char* name = strrchr(buffer, '/');
    for (name = name == NULL ? buffer : name; *name != 0; ++name) *name = (char)tolower((unsigned char)*name);
    return buffer;
}

int stat(const char* path, struct stat* status) {
    char buffer[4096];
    return ((int (*)(const char*, struct stat*))dlsym(RTLD_NEXT, "stat"))(folded(path, buffer), status);
}

int lstat(const char* path, struct stat* status) {
    char buffer[4096];
    return ((int (*)(const char*, struct stat*))dlsym(RTLD_NEXT, "lstat"))(folded(path, buffer), status);
}

int access(const char* path, int mode) {
    char buffer[4096];
    return ((int (*)(const char*, int))dlsym(RTLD_NEXT, "access"))(folded(path, buffer), mode);
}

int rename(const char* from, const char* to) {
    char buffer[4096];
    return ((int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename"))(from, folded(to, buffer));
}
