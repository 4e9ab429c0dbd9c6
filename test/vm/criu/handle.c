/*
 * handle take PATH...          prints the handle of each, "type:bytes", as name_to_handle_at(2) gives it
 * handle open MOUNT HANDLE...  opens each in a mount and prints "inode size first-line" (no line of a directory); status 1 where one does not open
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
    struct file_handle head; /* ends where bytes begins */
    unsigned char bytes[MAX_HANDLE_SZ];
};

static void take(const char *path) {
    struct handle handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mount;
    if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount, 0) < 0) err(1, "%s", path);
    printf("%x:", handle.head.handle_type);
    for (unsigned i = 0; i < handle.head.handle_bytes; i++) printf("%02x", handle.bytes[i]);
    printf("\n");
}

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

static int show(int mount, const char *text) {
    int fd = open_handle(mount, text);
    if (fd < 0) {
        printf("%s\n", strerror(errno));
        return 1;
    }
    struct stat st;
    char line[64] = "";
    fstat(fd, &st);
    if (S_ISREG(st.st_mode) && read(fd, line, sizeof line - 1) < 0) strcpy(line, strerror(errno));
    line[strcspn(line, "\n")] = 0;
    printf("%lu %ld%s%s\n", st.st_ino, (long)st.st_size, *line ? " " : "", line);
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc >= 3 && !strcmp(argv[1], "take")) {
        for (int i = 2; i < argc; i++) take(argv[i]);
    } else if (argc >= 3 && !strcmp(argv[1], "open")) {
        int mount = open(argv[2], O_RDONLY | O_DIRECTORY);
        if (mount < 0) err(1, "%s", argv[2]);
        for (int i = 3; i < argc; i++) failed |= show(mount, argv[i]);
    } else
        errx(1, "usage: handle take PATH... | handle open MOUNT HANDLE...");
    return failed;
}
