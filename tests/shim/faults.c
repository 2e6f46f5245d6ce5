/* What a disk and a clock may do to a process that is started with this in LD_PRELOAD.
 *
 * GZ_SHIM_FILES  only files whose path holds this text are touched
 * GZ_SHIM_LOG    every write, truncation, sync and removal of them is appended to this file:
 *                { char kind; char path_length; uint64 offset; uint64 length; } path, bytes     kind: w t s u
 * GZ_SHIM_EIO    while a file of this name exists, fsync and fdatasync of them fail with EIO
 * GZ_SHIM_CLOCK  a file with a number of milliseconds, by which the wall clock is off
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The path of a descriptor, if it is one of those that concern us. */
static int concerns(int fd, char *path, size_t size) {
    const char *wanted = getenv("GZ_SHIM_FILES");
    char link[64];
    if (wanted == NULL || fd == log_file) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, wanted) != NULL;
}

static void note(char kind, const char *path, uint64_t offset, uint64_t length, const void *bytes) {
    const char *name = getenv("GZ_SHIM_LOG");
    static ssize_t (*real_write)(int, const void *, size_t);
    char head[18];
    if (name == NULL) return;
    if (real_write == NULL) real_write = REAL(write);
    pthread_mutex_lock(&lock);
    if (log_file < 0) log_file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    head[0] = kind;
    head[1] = (char)strlen(path);
    memcpy(head + 2, &offset, 8);
    memcpy(head + 10, &length, 8);
    real_write(log_file, head, sizeof head);
    real_write(log_file, path, strlen(path));
    if (bytes != NULL) real_write(log_file, bytes, length);
    pthread_mutex_unlock(&lock);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    char path[256];
    if (real == NULL) real = REAL(pwrite64);
    ssize_t done = real(fd, bytes, size, offset);
    if (done > 0 && concerns(fd, path, sizeof path)) note('w', path, offset, done, bytes);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) { return pwrite64(fd, bytes, size, offset); }

ssize_t write(int fd, const void *bytes, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    char path[256];
    if (real == NULL) real = REAL(write);
    int ours = concerns(fd, path, sizeof path);
    off_t offset = ours ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, bytes, size);
    if (done > 0 && ours) note('w', path, offset, done, bytes);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    static int (*real)(int, off64_t);
    char path[256];
    if (real == NULL) real = REAL(ftruncate64);
    int failed = real(fd, length);
    if (!failed && concerns(fd, path, sizeof path)) note('t', path, length, 0, NULL);
    return failed;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    static int (*real)(const char *);
    const char *wanted = getenv("GZ_SHIM_FILES");
    if (real == NULL) real = REAL(unlink);
    int failed = real(path);
    if (!failed && wanted != NULL && strstr(path, wanted) != NULL && strlen(path) < 256) note('u', path, 0, 0, NULL);
    return failed;
}

static int synced(int fd, int (*real)(int)) {
    char path[256];
    const char *failing = getenv("GZ_SHIM_EIO");
    int ours = concerns(fd, path, sizeof path);
    if (ours && failing != NULL && access(failing, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int failed = real(fd);
    if (!failed && ours) note('s', path, 0, 0, NULL);
    return failed;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }

int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

static long long clock_off_ms(void) {
    const char *name = getenv("GZ_SHIM_CLOCK");
    char text[32] = {0};
    if (name == NULL) return 0;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) real = REAL(clock_gettime);
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += clock_off_ms() / 1000;
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (real == NULL) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(at, zone);
    if (!failed && at != NULL) at->tv_sec += clock_off_ms() / 1000;
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL) *at = now.tv_sec;
    return now.tv_sec;
}
