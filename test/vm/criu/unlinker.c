/*
 * A process with unlinked files of a writable mount, to be checkpointed. It makes the files in DIRECTORY.
 *
 *   unlinker REPORT DIRECTORY [linked|gone|shared|nameless|huge|kept|directory|image PATH]...
 *
 * It becomes a session leader without a terminal and inherited descriptors, and writes its pid to REPORT.pid. At each
 * SIGUSR1 it appends lines "what<TAB>property<TAB>value" to REPORT, and a last line "end".
 */
#include "detached.h"

#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { MAX_THINGS = 16, PAGE = 4096 };

struct thing {
    const char *kind;
    int fd;
    char *map[2];
};

static struct thing things[MAX_THINGS];
static int count;

static int checked(int result, const char *what) {
    if (result < 0) err(1, "%s", what);
    return result;
}

/* A file with its name as content, in the directory of the program, of which it removes the name. */
static int new_file(const char *name, off_t size) {
    int fd = checked(open(name, O_RDWR | O_CREAT | O_EXCL, 0640), name);
    if (write(fd, name, strlen(name)) < 0) err(1, "write %s", name);
    if (size > 0) checked(ftruncate(fd, size), "ftruncate");
    return fd;
}

static void take(struct thing *thing) {
    const char *kind = thing->kind;
    if (!strcmp(kind, "linked")) {
        thing->fd = new_file("linked", 0);
        checked(link("linked", "other"), "link");
        checked(unlink("linked"), "unlink");
        close(checked(open("linked", O_WRONLY | O_CREAT | O_EXCL, 0600), "linked again"));
    } else if (!strcmp(kind, "gone") || !strcmp(kind, "huge") || !strcmp(kind, "kept")) {
        thing->fd = new_file(kind, !strcmp(kind, "gone") ? 0 : 1L << 30);
        if (strcmp(kind, "kept") != 0) checked(unlink(kind), "unlink");
    } else if (!strcmp(kind, "shared")) {
        int fd = new_file("shared", PAGE);
        for (int i = 0; i < 2; i++) {
            thing->map[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (thing->map[i] == MAP_FAILED) err(1, "mmap");
        }
        checked(unlink("shared"), "unlink");
        thing->fd = fd;
    } else if (!strcmp(kind, "nameless")) {
        thing->fd = checked(open(".", O_TMPFILE | O_RDWR, 0600), "O_TMPFILE");
        if (write(thing->fd, kind, strlen(kind)) < 0) err(1, "write");
    } else if (!strcmp(kind, "directory")) {
        checked(mkdir("directory", 0750), "mkdir");
        thing->fd = checked(open("directory", O_RDONLY | O_DIRECTORY), "directory");
        checked(rmdir("directory"), "rmdir");
        return;
    } else errx(1, "unknown kind %s", kind);
    checked(lseek(thing->fd, 3, SEEK_SET), "lseek");
}

/* A file of the image, whose name the program removes. */
static void take_image(struct thing *thing, const char *path) {
    thing->fd = checked(open(path, O_RDONLY), path);
    checked(unlink(path), path);
    checked(lseek(thing->fd, 3, SEEK_SET), "lseek");
}

static void report(const char *path) {
    FILE *out = fopen(path, "ae");
    if (out == NULL) err(1, "%s", path);
    for (struct thing *thing = things; thing < things + count; thing++) {
        struct stat st;
        char content[9] = "";
        checked(fstat(thing->fd, &st), "fstat");
        fprintf(out, "%s\tino\t%lu\n", thing->kind, (unsigned long)st.st_ino);
        fprintf(out, "%s\tlinks\t%lu\n", thing->kind, (unsigned long)st.st_nlink);
        if (S_ISDIR(st.st_mode)) continue;
        fprintf(out, "%s\tsize\t%ld\n", thing->kind, (long)st.st_size);
        fprintf(out, "%s\toffset\t%ld\n", thing->kind, (long)lseek(thing->fd, 0, SEEK_CUR));
        ssize_t length = pread(thing->fd, content, sizeof content - 1, 0);
        fprintf(out, "%s\tcontent\t%s\n", thing->kind, length < 0 ? strerror(errno) : content);
        if (thing->map[0] == NULL) continue;
        thing->map[0][100]++;
        char byte = 0;
        if (pread(thing->fd, &byte, 1, 100) != 1) err(1, "pread");
        int is_shared = thing->map[1][100] == thing->map[0][100] && byte == thing->map[0][100];
        fprintf(out, "%s\tmappings\t%s\n", thing->kind, is_shared ? "shared" : "private");
    }
    fprintf(out, "end\n");
    fclose(out);
}

int main(int argc, char **argv) {
    if (argc < 3) errx(1, "usage: unlinker REPORT DIRECTORY [KIND]...");
    detach();
    checked(chdir(argv[2]), argv[2]);
    for (int i = 3; i < argc && count < MAX_THINGS; i++) {
        struct thing *thing = &things[count++];
        *thing = (struct thing){argv[i], -1, {NULL, NULL}};
        if (!strcmp(argv[i], "image") && i + 1 < argc) take_image(thing, argv[++i]);
        else take(thing);
    }
    checked(chdir("/"), "/");
    serve(argv[1], report);
}
