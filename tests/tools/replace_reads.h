/* All forms of read() and pread() for LD_PRELOAD: with 64-bit offsets, and as the compiler replaces them with
   -D_FORTIFY_SOURCE. The file that includes this defines _GNU_SOURCE, and before_read(), which is called first: if its
   result is not 0, the call fails with the errno that it has set. */
#include <dlfcn.h>
#include <unistd.h>

static int before_read(int file);

#define REPLACE(name, parameters, arguments)                              \
    ssize_t name parameters {                                             \
        if (before_read(file) != 0) return -1;                            \
        return ((ssize_t(*) parameters)dlsym(RTLD_NEXT, #name))arguments; \
    }
REPLACE(read, (int file, void* data, size_t bytes), (file, data, bytes))
REPLACE(__read_chk, (int file, void* data, size_t bytes, size_t size), (file, data, bytes, size))
REPLACE(pread, (int file, void* data, size_t bytes, off_t offset), (file, data, bytes, offset))
REPLACE(pread64, (int file, void* data, size_t bytes, off64_t offset), (file, data, bytes, offset))
REPLACE(__pread_chk, (int file, void* data, size_t bytes, off_t offset, size_t size),
        (file, data, bytes, offset, size))
REPLACE(__pread64_chk, (int file, void* data, size_t bytes, off64_t offset, size_t size),
        (file, data, bytes, offset, size))
#undef REPLACE
