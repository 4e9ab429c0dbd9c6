/*
 * open-handles MOUNT HANDLE...: opens handles in the form of cfs-info, and prints "inode size first-line" of each
 * (without a line for a directory).
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct handle {
    struct file_handle head; /* its end is the beginning of bytes */
    unsigned char bytes[MAX_HANDLE_SZ];
};

static int open_handle(int mount, const char *text) {
    struct handle handle = {0};
    char *colon;
    handle.head.handle_type = strtol(text, &colon, 16);
    const char *hex = colon + (*colon == ':');
    handle.head.handle_bytes = strlen(hex) / 2;
    if (handle.head.handle_bytes > MAX_HANDLE_SZ) errx(1, "no handle: %s", text);
    for (unsigned i = 0; i < handle.head.handle_bytes; i++) sscanf(hex + 2 * i, "%2hhx", handle.bytes + i);
    return open_by_handle_at(mount, &handle.head, O_RDONLY);
}

int main(int argc, char **argv) {
    int mount = argc > 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
    if (mount < 0) err(1, "cannot open the mount");
    for (int i = 2; i < argc; i++) {
        int fd = open_handle(mount, argv[i]);
        struct stat st;
        char line[64] = "";
        if (fd < 0 || fstat(fd, &st) < 0) {
            printf("%s\n", strerror(errno));
            continue;
        }
        if (S_ISREG(st.st_mode) && read(fd, line, sizeof line - 1) < 0) strcpy(line, strerror(errno));
        line[strcspn(line, "\n")] = 0;
        printf("%lu %ld%s%s\n", st.st_ino, (long)st.st_size, *line ? " " : "", line);
        close(fd);
    }
}
