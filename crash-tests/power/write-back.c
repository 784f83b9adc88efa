// What a kernel under memory pressure does: starts, now and then, to write dirty pages of the files below
// a directory to the disk, in any order. It flushes nothing: neither metadata nor the disk's own cache.
//
//   power-write-back DIRECTORY PAUSE_MAX_MS SEED
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_OPEN 16
#define PART_BYTES (64 * 1024)

// Some parts of some files, each up to 64 KiB.
static int write_back(const char *path, const struct stat *status, int type, struct FTW *place) {
  (void)place;
  if (type != FTW_F || status->st_size == 0 || rand() % 2 == 0) return 0;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return 0;
  const long parts = (status->st_size + PART_BYTES - 1) / PART_BYTES;
  for (int i = 0; i < 8; i++) {
    const off_t from = rand() % parts * (off_t)PART_BYTES + rand() % 8 * 4096;
    sync_file_range(fd, from, 4096 << rand() % 5, SYNC_FILE_RANGE_WRITE);
  }
  // The beginning of a file is where headers are.
  if (rand() % 4 == 0) sync_file_range(fd, rand() % 4 * 4096, 4096, SYNC_FILE_RANGE_WRITE);
  if (rand() % 8 == 0) sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
  close(fd);
  return 0;
}

int main(int argc, char *argv[]) {
  if (argc != 4) {
    fprintf(stderr, "usage: power-write-back DIRECTORY PAUSE_MAX_MS SEED\n");
    return 2;
  }
  const int pause_max_ms = atoi(argv[2]);
  srand((unsigned)atoi(argv[3]));
  // Until it is killed, or its parent is dead.
  for (const pid_t parent = getppid(); getppid() == parent;) {
    usleep((useconds_t)(1 + rand() % pause_max_ms) * 1000);
    nftw(argv[1], write_back, MAX_OPEN, FTW_PHYS);
  }
  return 0;
}
