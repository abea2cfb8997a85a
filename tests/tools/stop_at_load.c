/* For LD_PRELOAD: the program stops itself while its libraries are loaded, until it gets SIGCONT. */
#include <signal.h>
#include <stdlib.h>

__attribute__((constructor)) static void stop(void) {
    unsetenv("LD_PRELOAD"); /* for the programs that it starts */
    raise(SIGSTOP);
}
