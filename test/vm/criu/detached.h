/* Process to be checkpointed: without a terminal, and without inherited descriptors. Include it before all others. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Continues in a child, a session leader whose standard input and output are empty. Errors still go to stderr. */
static void detach(void) {
    if (fork() > 0) exit(0);
    setsid();
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    close_range(3, ~0U, 0);
}

/* Writes the pid to REPORT.pid, and then calls report(REPORT) at each SIGUSR1. */
static _Noreturn void serve(const char *path, void (*report)(const char *path)) {
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);

    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.pid", path);
    FILE *pid = fopen(name, "we");
    fprintf(pid, "%d\n", getpid());
    fclose(pid);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 2);
    close(null);

    for (;;) {
        if (sigwaitinfo(&usr1, NULL) == SIGUSR1) report(path);
    }
}
