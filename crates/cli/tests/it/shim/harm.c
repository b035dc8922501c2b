/* Counts what the program under test writes or makes durable, and does harm at the n-th time. Loaded with LD_PRELOAD; the programs that it starts are let alone.
 *
 * HARM=CALLS:N:WHAT with CALLS `sync` or `write`; WHAT one of
 *   kill-before, kill-after    the process dies of SIGKILL before or after the call
 *   lie                        the call is made, and said to have failed with EIO
 *   eio, enospc                the call is not made, and fails; `enospc` for good, as a full disk does
 * HARMED names a file that is made when it happens.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int counted;

enum harm { NONE, LIE, FAIL };

static void mark(void) {
    const char *path = getenv("HARMED");
    int before = errno, fd = path ? open(path, O_CREAT | O_WRONLY, 0600) : -1;
    if (fd >= 0) close(fd);
    errno = before;
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* What is to happen at this call; `after` names what is to happen behind it. */
static enum harm harm(const char *calls, int *die_after) {
    static _Thread_local char spec[64];
    const char *given = getenv("HARM");
    *die_after = 0;
    if (!given || strcmp(program_invocation_short_name, "oarlock") != 0) return NONE;
    strncpy(spec, given, sizeof spec - 1);
    char *kind = strtok(spec, ":"), *number = strtok(NULL, ":"), *what = strtok(NULL, ":");
    if (!kind || !number || !what || strcmp(kind, calls) != 0) return NONE;
    int now = atomic_fetch_add(&counted, 1) + 1, wanted = atoi(number);
    if (strcmp(what, "enospc") == 0) {
        if (now < wanted) return NONE;
        mark();
        errno = ENOSPC;
        return FAIL;
    }
    if (now != wanted) return NONE;
    mark();
    if (strcmp(what, "kill-before") == 0) die();
    if (strcmp(what, "kill-after") == 0) *die_after = 1;
    if (strcmp(what, "lie") == 0) return LIE;
    if (strcmp(what, "eio") == 0) { errno = EIO; return FAIL; }
    return NONE;
}

#define AROUND(calls, type, name, parameters, arguments)                      \
    type name parameters {                                                    \
        static type(*real) parameters;                                        \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);        \
        int die_after;                                                        \
        enum harm what = harm(calls, &die_after);                             \
        if (what == FAIL) return -1;                                          \
        type result = real arguments;                                         \
        if (die_after) die();                                                 \
        if (what == LIE) { errno = EIO; return -1; }                          \
        return result;                                                        \
    }

AROUND("sync", int, fsync, (int fd), (fd))
AROUND("sync", int, fdatasync, (int fd), (fd))
AROUND("write", ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
AROUND("write", ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at))
