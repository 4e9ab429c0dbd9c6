/*
 * A process with files of a mount, to be checkpointed. Its reports show whether the files continue in their old state.
 *
 *   holder REPORT [cwd|file|dir|map|lock|inotify|fanotify|fanotify-mount PATH]...
 *
 * It becomes a session leader without a terminal and inherited descriptors, opens everything, and writes its pid to
 * REPORT.pid. At each SIGUSR1 it appends lines "what<TAB>path<TAB>value" to REPORT, and a last line "end".
 */
#include "detached.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* From libholder.so, which is also in the mount. */
const char *holder_greeting(void);

enum { RECORD = 16, MAX_THINGS = 32 };

struct thing {
    const char *kind;
    const char *path;
    int fd;
    const char *map;
};

static struct thing things[MAX_THINGS];
static int count;

static int checked(int result, const char *what, const char *path) {
    if (result < 0) err(1, "%s %s", what, path);
    return result;
}

static const char *mapped(int fd, const char *path) {
    struct stat st;
    checked(fstat(fd, &st), "fstat", path);
    const char *map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) err(1, "mmap %s", path);
    close(fd);
    return map;
}

static int watched_by_fanotify(const char *path, unsigned how, unsigned long long mask) {
    int fd = checked(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY), "fanotify_init", path);
    checked(fanotify_mark(fd, FAN_MARK_ADD | how, mask, AT_FDCWD, path), "fanotify_mark", path);
    return fd;
}

static void take(struct thing *thing) {
    const char *kind = thing->kind, *path = thing->path;
    if (!strcmp(kind, "cwd")) checked(chdir(path), kind, path);
    else if (!strcmp(kind, "file")) thing->fd = checked(open(path, O_RDONLY), kind, path);
    else if (!strcmp(kind, "dir")) thing->fd = checked(open(path, O_RDONLY | O_DIRECTORY), kind, path);
    else if (!strcmp(kind, "map")) thing->map = mapped(checked(open(path, O_RDONLY), kind, path), path);
    else if (!strcmp(kind, "lock")) {
        thing->fd = checked(open(path, O_RDONLY), kind, path);
        checked(flock(thing->fd, LOCK_EX), kind, path);
    } else if (!strcmp(kind, "inotify")) {
        thing->fd = checked(inotify_init1(IN_NONBLOCK), kind, path);
        checked(inotify_add_watch(thing->fd, path, IN_OPEN | IN_CLOSE_NOWRITE), kind, path);
    } else if (!strcmp(kind, "fanotify"))
        thing->fd = watched_by_fanotify(path, 0, FAN_OPEN | FAN_EVENT_ON_CHILD);
    else if (!strcmp(kind, "fanotify-mount")) thing->fd = watched_by_fanotify(path, FAN_MARK_MOUNT, FAN_OPEN);
    else errx(1, "unknown kind %s", kind);
}

/* The target of a link of /proc/self. */
static const char *link_of(const char *link) {
    static char path[PATH_MAX];
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return strerror(errno);
    path[length] = 0;
    return path;
}

static const char *link_of_fd(int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return link_of(link);
}

/* Reports the next record, so that each report shows another one. */
static void report_file(FILE *out, const struct thing *thing) {
    char record[RECORD + 1] = "";
    ssize_t length = read(thing->fd, record, RECORD);
    fprintf(out, "file\t%s\t%s\n", thing->path, length < 0 ? strerror(errno) : strtok(record, "\n"));
}

/* Reports the next names: as many as fit into a small buffer, two or three. */
static void report_directory(FILE *out, const struct thing *thing) {
    char buffer[96];
    long length = syscall(SYS_getdents64, thing->fd, buffer, sizeof buffer);
    fprintf(out, "dir\t%s\t", thing->path);
    if (length < 0) fprintf(out, "%s", strerror(errno));
    for (long at = 0; at < length; at += ((struct dirent64 *)(buffer + at))->d_reclen) {
        fprintf(out, "%s%s", at > 0 ? " " : "", ((struct dirent64 *)(buffer + at))->d_name);
    }
    fprintf(out, "\n");
}

static void report_inotify(FILE *out, const struct thing *thing) {
    char buffer[4096] __attribute__((aligned(8)));
    ssize_t length = read(thing->fd, buffer, sizeof buffer);
    fprintf(out, "inotify\t%s\t", thing->path);
    for (ssize_t at = 0; at < length;) {
        const struct inotify_event *event = (void *)(buffer + at);
        fprintf(out, "%s%s", at > 0 ? " " : "", event->mask & IN_OPEN ? "open" : event->mask & IN_CLOSE_NOWRITE ? "close" : "?");
        if (event->len > 0) fprintf(out, ":%s", event->name);
        at += sizeof *event + event->len;
    }
    fprintf(out, "\n");
}

static void report_fanotify(FILE *out, const struct thing *thing) {
    struct fanotify_event_metadata events[32], *event = events;
    ssize_t length = read(thing->fd, events, sizeof events);
    fprintf(out, "%s\t%s\t", thing->kind, thing->path);
    for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length)) {
        fprintf(out, "%s%s:%s", event > events ? " " : "", event->mask & FAN_OPEN ? "open" : "?", link_of_fd(event->fd));
        close(event->fd);
    }
    fprintf(out, "\n");
}

/* Reports whether another open file can take the lock. */
static void report_lock(FILE *out, const struct thing *thing) {
    int fd = open(thing->path, O_RDONLY);
    int got = flock(fd, LOCK_EX | LOCK_NB);
    fprintf(out, "lock\t%s\t%s\n", thing->path, got < 0 && errno == EWOULDBLOCK ? "held" : "lost");
    close(fd);
}

static void report(const char *path) {
    FILE *out = fopen(path, "ae");
    if (out == NULL) err(1, "%s", path);
    fprintf(out, "exe\t\t%s\n", link_of("/proc/self/exe"));
    fprintf(out, "library\t\t%s\n", holder_greeting());
    for (struct thing *thing = things; thing < things + count; thing++) {
        if (!strcmp(thing->kind, "cwd")) fprintf(out, "cwd\t%s\t%s\n", thing->path, link_of("/proc/self/cwd"));
        if (!strcmp(thing->kind, "file")) report_file(out, thing);
        if (!strcmp(thing->kind, "dir")) report_directory(out, thing);
        if (!strcmp(thing->kind, "map")) fprintf(out, "map\t%s\t%.*s\n", thing->path, RECORD - 1, thing->map);
        if (!strcmp(thing->kind, "lock")) report_lock(out, thing);
        if (!strcmp(thing->kind, "inotify")) report_inotify(out, thing);
        if (!strncmp(thing->kind, "fanotify", 8)) report_fanotify(out, thing);
    }
    fprintf(out, "end\n");
    fclose(out);
}

int main(int argc, char **argv) {
    if (argc < 2) errx(1, "usage: holder REPORT [KIND PATH]...");
    detach();
    for (int i = 2; i + 1 < argc && count < MAX_THINGS; i += 2) {
        things[count] = (struct thing){argv[i], argv[i + 1], -1, NULL};
        take(&things[count++]);
    }
    serve(argv[1], report);
}
