/*
 * drop-pages FILE...: drops the cached pages of these files, and of no others: a machine that has to read node again is
 * slow.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY);
        if (fd < 0) err(1, "%s", argv[i]);
        fsync(fd);
        int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (error != 0) errx(1, "%s: posix_fadvise: %d", argv[i], error);
        close(fd);
    }
    return 0;
}
