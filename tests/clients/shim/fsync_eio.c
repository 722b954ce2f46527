/* Has one flush of one process fail, as a dying disk does: preloaded into real brokers by the tests.
 *
 * FSYNC_EIO names a file. While it is there, it holds the beginning of a path, and the first fsync or fdatasync
 * of a file whose path begins so fails with EIO, whatever was written; the file is removed, so that it is one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096

static int fails(int fd) {
    const char *flag = getenv("FSYNC_EIO");
    char begin[PATH_BYTES_MAX], link[64], path[PATH_BYTES_MAX];
    int file = flag ? open(flag, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, begin, sizeof begin);
    close(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t found = readlink(link, path, sizeof path);
    if (length <= 0 || found < length || memcmp(begin, path, (size_t)length) != 0) return 0;
    return unlink(flag) == 0; /* of several at once, one */
}

static int flush(int fd, const char *name) {
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return flush(fd, "fsync"); }
int fdatasync(int fd) { return flush(fd, "fdatasync"); }
