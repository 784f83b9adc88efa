/*
 * Makes system calls fail, for LD_PRELOAD. FAULT_CALL names the call (fdatasync, fsync, pwrite, pread,
 * open), FAULT_PATH a part of the path that the file must have, FAULT_ERRNO the error, and FAULT_FROM and
 * FAULT_COUNT which of the matching calls fail: FAULT_COUNT calls from the FAULT_FROM-th on. They are
 * counted from the moment at which the file FAULT_ARMED exists. Each one is noted in FAULT_LOG: a
 * call that failed as "F", one of the same kind on the same file afterwards as "R".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int seen;

static void note(const char *what) {
  const char *path = getenv("FAULT_LOG");
  if (path == NULL) return;
  int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
  int fd = real_open(path, O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (fd < 0) return;
  if (write(fd, what, 1) != 1) abort();
  close(fd);
}

static int strikes(const char *call, const char *path) {
  const char *wanted = getenv("FAULT_CALL");
  const char *part = getenv("FAULT_PATH");
  const char *armed = getenv("FAULT_ARMED");
  if (wanted == NULL || strcmp(wanted, call) != 0) return 0;
  if (part == NULL || strstr(path, part) == NULL) return 0;
  if (armed == NULL || access(armed, F_OK) != 0) return 0;
  int n = atomic_fetch_add(&seen, 1) + 1;
  int from = atoi(getenv("FAULT_FROM"));
  if (n < from) return 0;
  if (n >= from + atoi(getenv("FAULT_COUNT"))) {
    note("R");
    return 0;
  }
  note("F");
  errno = atoi(getenv("FAULT_ERRNO"));
  return 1;
}

static int strikes_fd(const char *call, int fd) {
  int saved = errno;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = saved;
  if (length < 0) return 0;
  path[length] = 0;
  return strikes(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fdatasync(int fd) { return strikes_fd("fdatasync", fd) ? -1 : REAL(fdatasync)(fd); }
int fsync(int fd) { return strikes_fd("fsync", fd) ? -1 : REAL(fsync)(fd); }
ssize_t pwrite(int fd, const void *from, size_t length, off_t at) {
  return strikes_fd("pwrite", fd) ? -1 : REAL(pwrite)(fd, from, length, at);
}
ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
  return strikes_fd("pwrite", fd) ? -1 : REAL(pwrite64)(fd, from, length, at);
}
ssize_t pread(int fd, void *into, size_t length, off_t at) {
  return strikes_fd("pread", fd) ? -1 : REAL(pread)(fd, into, length, at);
}
ssize_t pread64(int fd, void *into, size_t length, off64_t at) {
  return strikes_fd("pread", fd) ? -1 : REAL(pread64)(fd, into, length, at);
}
int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return strikes("open", path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return strikes("open", path) ? -1 : REAL(open64)(path, flags, mode);
}

/* FAULT_CLOCK: seconds by which the wall clock jumps once the file FAULT_ARMED exists. */
#include <sys/time.h>
#include <time.h>
static long jump(void) {
  const char *seconds = getenv("FAULT_CLOCK");
  const char *armed = getenv("FAULT_ARMED");
  return seconds == NULL || armed == NULL || access(armed, F_OK) != 0 ? 0 : atol(seconds);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  static __typeof__(&clock_gettime) real;
  if (real == NULL) real = REAL(clock_gettime);
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += jump();
  return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int (*real)(struct timeval *restrict, void *restrict) = dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(now, zone);
  now->tv_sec += jump();
  return result;
}
