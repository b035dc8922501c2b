/* Loaded with LD_PRELOAD into `oarlock`: counts the calls that make data durable, and lets the one with a chosen number meet bad weather.
 *
 * WEATHER       kill-before, kill-after, fail-before, fail-after (the call is done, and reported as failed), or nothing: count alone
 * WEATHER_AT    the number of the call, from 1 on
 * WEATHER_CALLS sync, write, or all
 * WEATHER_ERRNO what a failed call says
 * WEATHER_LASTS set: every later call of that kind fails too
 * WEATHER_COUNT the file that gets the count when the process ends in good order */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum weather { FAIR, KILL_BEFORE, KILL_AFTER, FAIL_BEFORE, FAIL_AFTER };

static atomic_long calls;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static enum weather weather_of(const char *kind) {
    if (strcmp(program_invocation_short_name, "oarlock") != 0) return FAIR;
    const char *counted = setting("WEATHER_CALLS");
    if (strcmp(counted, "all") != 0 && strcmp(counted, kind) != 0) return FAIR;
    long number = atomic_fetch_add(&calls, 1) + 1;
    long at = atol(setting("WEATHER_AT"));
    int lasts = *setting("WEATHER_LASTS") != 0;
    if (at == 0 || number < at || (number > at && !lasts)) return FAIR;
    const char *wanted = setting("WEATHER");
    if (strcmp(wanted, "kill-before") == 0) return KILL_BEFORE;
    if (strcmp(wanted, "kill-after") == 0) return KILL_AFTER;
    if (strcmp(wanted, "fail-before") == 0) return FAIL_BEFORE;
    if (strcmp(wanted, "fail-after") == 0) return FAIL_AFTER;
    return FAIR;
}

static ssize_t failure(void) {
    errno = atoi(setting("WEATHER_ERRNO"));
    return -1;
}

#define MEET(kind, call)                                   \
    enum weather weather = weather_of(kind);               \
    if (weather == KILL_BEFORE) kill(getpid(), SIGKILL);   \
    if (weather == FAIL_BEFORE) return failure();          \
    ssize_t result = (call);                               \
    if (weather == KILL_AFTER) kill(getpid(), SIGKILL);    \
    if (weather == FAIL_AFTER) return failure();           \
    return result;

int fdatasync(int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
    MEET("sync", next(fd))
}

int fsync(int fd) {
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    MEET("sync", next(fd))
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    MEET("write", next(fd, from, size, at))
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    MEET("write", next(fd, from, size, at))
}

__attribute__((destructor)) static void report(void) {
    const char *path = setting("WEATHER_COUNT");
    if (*path == 0 || strcmp(program_invocation_short_name, "oarlock") != 0) return;
    FILE *file = fopen(path, "w");
    if (file == NULL) return;
    fprintf(file, "%ld", atomic_load(&calls));
    fclose(file);
}
