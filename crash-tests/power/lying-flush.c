// A system that says it has flushed and has not: preloaded into a program under test, to prove that the
// power cuts find out. MMAPDB_LIE names the flushes that are left out:
//
//   log         those of segments of the log
//   data        those of the data file
//   slots       of these, only the one before the headers are written
//   directory   those of directories; and fallocate() of room that a file has already does nothing. On ext4
//               it touches the inode, so that the next flush of the file brings the directory along
//
// To tell the two flushes of a checkpoint apart, MMAPDB_LIE_STATE names a file that all processes
// share: it remembers the newest checkpoint number that a flush has seen in the headers.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT_BYTES 4096
#define HEADER_SLOTS 4
#define CHECKPOINT_NUMBER_AT 64

static bool ends_with(const char *text, const char *end) {
  const size_t length = strlen(text), end_length = strlen(end);
  return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

// True if no header has been written since the last flush of the data file.
static bool headers_are_old(int data) {
  const char *path = getenv("MMAPDB_LIE_STATE");
  if (path == NULL) return false;
  uint64_t newest = 0, number, seen = UINT64_MAX;
  for (int slot = 0; slot < HEADER_SLOTS; slot++) {
    if (pread(data, &number, sizeof number, slot * SLOT_BYTES + CHECKPOINT_NUMBER_AT) != sizeof number) continue;
    if (number > newest) newest = number;
  }
  const int state = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (state < 0) return false;
  const bool known = pread(state, &seen, sizeof seen, 0) == sizeof seen;
  if (pwrite(state, &newest, sizeof newest, 0) != sizeof newest) abort();
  close(state);
  return known && seen == newest;
}

static bool lies_about(int fd) {
  const char *what = getenv("MMAPDB_LIE");
  if (what == NULL) return false;
  struct stat status;
  if (fstat(fd, &status) != 0) return false;
  if (strcmp(what, "directory") == 0) return S_ISDIR(status.st_mode);
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = 0;
  if (strcmp(what, "log") == 0) return ends_with(path, ".wal");
  if (!ends_with(path, "/data")) return false;
  return strcmp(what, "data") == 0 || (strcmp(what, "slots") == 0 && headers_are_old(fd));
}

typedef int flush(int);

int fdatasync(int fd) {
  static flush *next;
  if (lies_about(fd)) return 0;
  if (next == NULL) next = (flush *)dlsym(RTLD_NEXT, "fdatasync");
  return next(fd);
}

int fsync(int fd) {
  static flush *next;
  if (lies_about(fd)) return 0;
  if (next == NULL) next = (flush *)dlsym(RTLD_NEXT, "fsync");
  return next(fd);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  static int (*next)(int, int, off64_t, off64_t);
  const char *what = getenv("MMAPDB_LIE");
  struct stat status;
  if (what != NULL && strcmp(what, "directory") == 0 && mode == 0 && fstat(fd, &status) == 0 &&
      status.st_size >= offset + length && status.st_blocks * 512 >= offset + length) {
    return 0;
  }
  if (next == NULL) next = (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT, "fallocate64");
  return next(fd, mode, offset, length);
}
// The same where file offsets have 64 bits anyway.
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

// Of the data file, if a caller should use it: nothing else is mapped and flushed.
int msync(void *at, size_t length, int flags) {
  static int (*next)(void *, size_t, int);
  const char *what = getenv("MMAPDB_LIE");
  if (what != NULL && strcmp(what, "data") == 0) return 0;
  if (next == NULL) next = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");
  return next(at, length, flags);
}
