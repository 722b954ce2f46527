/* Has a process skip its flushes: preloaded into real brokers, to show that the tests see what that loses.
 *
 * SKIP_FLUSH names a file. While it is there, fsync and fdatasync do nothing, and say that all is well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int flush(int fd, const char *name) {
    const char *flag = getenv("SKIP_FLUSH");
    if (flag && access(flag, F_OK) == 0) return 0;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return flush(fd, "fsync"); }
int fdatasync(int fd) { return flush(fd, "fdatasync"); }
