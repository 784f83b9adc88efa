// A disk with a volatile write cache that can lose its power, as a FUSE file system of one file.
//
//   power-disk IMAGE MOUNT_POINT FLUSH_LATENCY_MAX_US
//
// MOUNT_POINT/disk is as long as IMAGE. A write goes to the cache, which keeps every version of every
// 512-byte sector since the last completed flush; a read sees the newest. A flush (FUSE FSYNC, which is
// what a loop device makes of REQ_OP_FLUSH) brings the newest version of all that was written before it
// to IMAGE. Nothing else does: not closing the file, not time, not memory.
//
// Commands, one a line, on standard input; each answer is one line of JSON on standard output:
//
//   cut SEED MODE now                the power goes off at once
//   cut SEED MODE flush-started N      at the N-th flush from now, which is then not done
//   cut SEED MODE flush-done N       after the N-th flush, before anything is told of it
//   cut SEED MODE write N            at the N-th write request from now, which is still taken
//   stat                             counters
//
// Off means: no later request has any effect, all fail with EIO, those under way as well. Then each
// sector of IMAGE is made, once and for all, what it may be after the cut: what the last completed flush
// left there or any version written since. MODE says how that is chosen, all of it from SEED:
//
//   none      nothing survives that was not flushed
//   all       everything survives
//   prefix    what was written up to a random moment survives, torn there
//   requests  each write request survives whole or not at all, in any combination
//   sectors   each sector on its own: any version
//   any       one of these, drawn from SEED
//
// It lives as long as standard input is open. When it goes the kernel fails all that is left of the
// connection, so no process can hang on a request to it.
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECTOR_BYTES 512
#define FILE_PATH "/disk"

// What was written to one sector at one time. `next` is the older one.
struct version {
  struct version *next;
  uint64_t order;    // rises with every sector written
  uint64_t request;  // the write request that it was part of
  unsigned char bytes[SECTOR_BYTES];
};

enum mode { MODE_NONE, MODE_ALL, MODE_PREFIX, MODE_REQUESTS, MODE_SECTORS, MODES, MODE_ANY = MODES };
static const char *const MODE_NAMES[] = {"none", "all", "prefix", "requests", "sectors", "any"};
enum event { EVENT_NOW, EVENT_FLUSH_BEGUN, EVENT_FLUSH_DONE, EVENT_WRITE, EVENTS, EVENT_NEVER = EVENTS };
static const char *const EVENT_NAMES[] = {"now", "flush-started", "flush-done", "write"};

// One lock for everything: a request takes effect at one moment.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t power_is_off = PTHREAD_COND_INITIALIZER;
static bool off;

static unsigned char *image;  // what is durable: IMAGE, mapped
static size_t sector_count;
static struct version **newest;  // by sector; NULL: what is durable is all there is
static size_t *dirty;            // the sectors that have versions
static size_t dirty_count;
static uint64_t last_order, last_request;
static unsigned flush_latency_max_us;
static uint64_t latency_state = 1;

static struct {
  enum event event;
  uint64_t left, seed;
  enum mode mode;
} armed = {EVENT_NEVER, 0, 0, MODE_ANY};

static struct {
  uint64_t writes, sectors_written, reads, flushes, flushes_done, closes, zeroings, refused;
} counters;

// splitmix64
static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
static uint64_t below(uint64_t *state, uint64_t limit) { return limit == 0 ? 0 : next_random(state) % limit; }
static double fraction(uint64_t *state) { return (double)(next_random(state) >> 11) / 9007199254740992.0; }

static double monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static unsigned char *durable(size_t sector) { return image + sector * SECTOR_BYTES; }

static void drop(struct version *v) {
  while (v != NULL) {
    struct version *older = v->next;
    free(v);
    v = older;
  }
}

// ---- the cut ----------------------------------------------------------------------------------------

// Whether a write request survives: the same answer for each of its sectors.
static bool request_survives(uint64_t seed, uint64_t request, double chance) {
  uint64_t state = seed ^ (request * 0x9e3779b97f4a7c15u);
  return fraction(&state) < chance;
}

// Which version of a sector is there after the cut; NULL: the durable one.
static struct version *survivor(size_t sector, enum mode mode, uint64_t *random, uint64_t seed, uint64_t prefix_end,
                                double chance) {
  struct version *v = newest[sector];
  switch (mode) {
    case MODE_NONE:
      return NULL;
    case MODE_PREFIX:
      while (v != NULL && v->order > prefix_end) v = v->next;
      return v;
    case MODE_REQUESTS:
      while (v != NULL && !request_survives(seed, v->request, chance)) v = v->next;
      return v;
    case MODE_SECTORS: {
      if (fraction(random) >= chance) return NULL;
      uint64_t versions = 0;
      for (struct version *u = v; u != NULL; u = u->next) versions++;
      // The newest half of the time, else any.
      for (uint64_t older = next_random(random) & 1 ? 0 : below(random, versions); older > 0; older--) v = v->next;
      return v;
    }
    default:
      return v;
  }
}

// With the lock held. Says what happened on standard output.
static void cut(enum event event, uint64_t seed, enum mode mode) {
  off = true;
  armed.event = EVENT_NEVER;
  pthread_cond_broadcast(&power_is_off);

  uint64_t random = seed;
  if (mode == MODE_ANY) {
    static const enum mode DRAWN[] = {MODE_NONE, MODE_ALL, MODE_PREFIX, MODE_PREFIX, MODE_REQUESTS, MODE_REQUESTS,
                                      MODE_SECTORS, MODE_SECTORS, MODE_SECTORS, MODE_SECTORS};
    mode = DRAWN[below(&random, sizeof DRAWN / sizeof *DRAWN)];
  }
  // Almost nothing and almost everything are as telling as half.
  static const double CHANCES[] = {0.03, 0.3, 0.5, 0.7, 0.97};
  const double chance = CHANCES[below(&random, sizeof CHANCES / sizeof *CHANCES)];
  uint64_t first_order = last_order + 1, versions = 0, kept_newest = 0, kept_older = 0, lost = 0;
  for (size_t i = 0; i < dirty_count; i++) {
    for (struct version *v = newest[dirty[i]]; v != NULL; v = v->next, versions++) {
      if (v->order < first_order) first_order = v->order;
    }
  }
  const uint64_t prefix_end = first_order + below(&random, last_order + 2 - first_order) - 1;
  for (size_t i = 0; i < dirty_count; i++) {
    const size_t sector = dirty[i];
    struct version *v = survivor(sector, mode, &random, seed, prefix_end, chance);
    if (v == NULL) lost++;
    else if (v == newest[sector]) kept_newest++;
    else kept_older++;
    if (v != NULL) memcpy(durable(sector), v->bytes, SECTOR_BYTES);
    drop(newest[sector]);
    newest[sector] = NULL;
  }
  printf("{\"cut\":\"%s\",\"mode\":\"%s\",\"atMs\":%.3f,\"writes\":%lu,\"flushes\":%lu,\"sectors\":%zu,\"versions\":%lu,"
         "\"keptNewest\":%lu,\"keptOlder\":%lu,\"lost\":%lu}\n",
         EVENT_NAMES[event], MODE_NAMES[mode], monotonic_ms(), counters.writes, counters.flushes, dirty_count, versions,
         kept_newest, kept_older, lost);
  fflush(stdout);
  dirty_count = 0;
}

// With the lock held: an event has happened that the cut may have been waiting for.
static void pass(enum event event) {
  if (armed.event == event && !off && --armed.left == 0) cut(event, armed.seed, armed.mode);
}

// ---- the disk ---------------------------------------------------------------------------------------

// `bytes` NULL: zeros.
static int put(const unsigned char *bytes, size_t length, off_t offset) {
  if (offset % SECTOR_BYTES != 0 || length % SECTOR_BYTES != 0) return -EINVAL;
  const size_t first = (size_t)offset / SECTOR_BYTES, count = length / SECTOR_BYTES;
  if (first + count > sector_count) return -ENOSPC;
  pthread_mutex_lock(&lock);
  if (off) {
    counters.refused++;
    pthread_mutex_unlock(&lock);
    return -EIO;
  }
  last_request++;
  for (size_t i = 0; i < count; i++) {
    struct version *v = malloc(sizeof *v);
    if (v == NULL) abort();
    v->next = newest[first + i];
    v->order = ++last_order;
    v->request = last_request;
    if (bytes == NULL) memset(v->bytes, 0, SECTOR_BYTES);
    else memcpy(v->bytes, bytes + i * SECTOR_BYTES, SECTOR_BYTES);
    if (v->next == NULL) dirty[dirty_count++] = first + i;
    newest[first + i] = v;
  }
  counters.writes++;
  counters.sectors_written += count;
  if (bytes == NULL) counters.zeroings++;
  pass(EVENT_WRITE);
  const bool failed = off;
  pthread_mutex_unlock(&lock);
  return failed ? -EIO : (int)length;
}

static int disk_write(const char *path, const char *bytes, size_t length, off_t offset, struct fuse_file_info *file) {
  (void)path, (void)file;
  return put((const unsigned char *)bytes, length, offset);
}

static int disk_fallocate(const char *path, int how, off_t offset, off_t length, struct fuse_file_info *file) {
  (void)path, (void)file;
  if ((how & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) return -EOPNOTSUPP;
  const int done = put(NULL, (size_t)length, offset);
  return done < 0 ? done : 0;
}

static int disk_read(const char *path, char *bytes, size_t length, off_t offset, struct fuse_file_info *file) {
  (void)path, (void)file;
  const size_t size = sector_count * SECTOR_BYTES;
  if ((size_t)offset >= size) return 0;
  if (length > size - (size_t)offset) length = size - (size_t)offset;
  pthread_mutex_lock(&lock);
  if (off) {
    counters.refused++;
    pthread_mutex_unlock(&lock);
    return -EIO;
  }
  for (size_t done = 0; done < length;) {
    const size_t at = (size_t)offset + done, sector = at / SECTOR_BYTES, within = at % SECTOR_BYTES;
    size_t part = SECTOR_BYTES - within;
    if (part > length - done) part = length - done;
    const unsigned char *from = newest[sector] != NULL ? newest[sector]->bytes : durable(sector);
    memcpy(bytes + done, from + within, part);
    done += part;
  }
  counters.reads++;
  pthread_mutex_unlock(&lock);
  return (int)length;
}

// With the lock held: what was written up to `order` becomes durable.
static void complete_flush(uint64_t order) {
  size_t still = 0;
  for (size_t i = 0; i < dirty_count; i++) {
    const size_t sector = dirty[i];
    struct version **link = &newest[sector];
    while (*link != NULL && (*link)->order > order) link = &(*link)->next;
    if (*link != NULL) {
      memcpy(durable(sector), (*link)->bytes, SECTOR_BYTES);
      drop(*link);
      *link = NULL;
    }
    if (newest[sector] != NULL) dirty[still++] = sector;
  }
  dirty_count = still;
}

static int disk_fsync(const char *path, int data_only, struct fuse_file_info *file) {
  (void)path, (void)data_only, (void)file;
  pthread_mutex_lock(&lock);
  if (off) {
    counters.refused++;
    pthread_mutex_unlock(&lock);
    return -EIO;
  }
  const uint64_t order = last_order;
  counters.flushes++;
  pass(EVENT_FLUSH_BEGUN);
  if (!off && flush_latency_max_us > 0) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)below(&latency_state, flush_latency_max_us) * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!off && pthread_cond_timedwait(&power_is_off, &lock, &until) == 0) continue;
  }
  if (!off) {
    complete_flush(order);
    counters.flushes_done++;
    pass(EVENT_FLUSH_DONE);
  }
  const bool failed = off;
  pthread_mutex_unlock(&lock);
  return failed ? -EIO : 0;
}

// Of close(2). A disk knows nothing of it.
static int disk_close(const char *path, struct fuse_file_info *file) {
  (void)path, (void)file;
  pthread_mutex_lock(&lock);
  counters.closes++;
  pthread_mutex_unlock(&lock);
  return 0;
}

static int disk_getattr(const char *path, struct stat *attributes, struct fuse_file_info *file) {
  (void)file;
  memset(attributes, 0, sizeof *attributes);
  attributes->st_nlink = 1;
  if (strcmp(path, "/") == 0) {
    attributes->st_mode = S_IFDIR | 0700;
    return 0;
  }
  if (strcmp(path, FILE_PATH) != 0) return -ENOENT;
  attributes->st_mode = S_IFREG | 0600;
  attributes->st_size = (off_t)(sector_count * SECTOR_BYTES);
  attributes->st_blocks = (blkcnt_t)sector_count;
  return 0;
}

static int disk_open(const char *path, struct fuse_file_info *file) {
  if (strcmp(path, FILE_PATH) != 0) return -ENOENT;
  // Past the page cache: what the loop device writes is here when its request is done.
  file->direct_io = 1;
  return 0;
}

static const struct fuse_operations OPERATIONS = {
    .getattr = disk_getattr,
    .open = disk_open,
    .read = disk_read,
    .write = disk_write,
    .fsync = disk_fsync,
    .flush = disk_close,
    .fallocate = disk_fallocate,
};

// ---- commands ---------------------------------------------------------------------------------------

static int index_of(const char *name, const char *const names[], int count) {
  for (int i = 0; i < count; i++) {
    if (strcmp(name, names[i]) == 0) return i;
  }
  return -1;
}

static void obey(const char *line) {
  char mode_name[16], event_name[16];
  uint64_t seed, count = 1;
  if (strcmp(line, "stat\n") == 0) {
    printf("{\"off\":%s,\"writes\":%lu,\"sectorsWritten\":%lu,\"reads\":%lu,\"flushes\":%lu,\"flushesDone\":%lu,"
           "\"closes\":%lu,\"zeroings\":%lu,\"refused\":%lu,\"dirtySectors\":%zu}\n",
           off ? "true" : "false", counters.writes, counters.sectors_written, counters.reads, counters.flushes,
           counters.flushes_done, counters.closes, counters.zeroings, counters.refused, dirty_count);
    fflush(stdout);
  } else if (sscanf(line, "cut %lu %15s %15s %lu", &seed, mode_name, event_name, &count) >= 3) {
    const int mode = index_of(mode_name, MODE_NAMES, MODES + 1), event = index_of(event_name, EVENT_NAMES, EVENTS);
    if (mode < 0 || event < 0 || count == 0) {
      fprintf(stderr, "power-disk: not understood: %s", line);
    } else if (off) {
      // It has been said already when.
    } else if (event == EVENT_NOW) {
      cut(EVENT_NOW, seed, (enum mode)mode);
    } else {
      armed.event = (enum event)event;
      armed.left = count;
      armed.seed = seed;
      armed.mode = (enum mode)mode;
    }
  } else {
    fprintf(stderr, "power-disk: not understood: %s", line);
  }
}

static struct fuse *fuse;

static void *read_commands(void *unused) {
  (void)unused;
  char line[128];
  while (fgets(line, sizeof line, stdin) != NULL) {
    pthread_mutex_lock(&lock);
    obey(line);
    pthread_mutex_unlock(&lock);
  }
  // The parent is done, or dead. Not by way of fuse_exit(): a thread of it that waits for
  // a request sees that only when the next one comes.
  fuse_unmount(fuse);
  _exit(0);
}

static void fail(const char *what) {
  fprintf(stderr, "power-disk: %s: %s\n", what, strerror(errno));
  exit(1);
}

int main(int argc, char *argv[]) {
  if (argc != 4) {
    fprintf(stderr, "usage: power-disk IMAGE MOUNT_POINT FLUSH_LATENCY_MAX_US\n");
    return 2;
  }
  const int fd = open(argv[1], O_RDWR | O_CLOEXEC);
  if (fd < 0) fail(argv[1]);
  struct stat status;
  if (fstat(fd, &status) != 0) fail(argv[1]);
  sector_count = (size_t)status.st_size / SECTOR_BYTES;
  image = mmap(NULL, sector_count * SECTOR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (image == MAP_FAILED) fail("mmap");
  newest = calloc(sector_count, sizeof *newest);
  dirty = calloc(sector_count, sizeof *dirty);
  if (newest == NULL || dirty == NULL) fail("calloc");
  flush_latency_max_us = (unsigned)atoi(argv[3]);
  latency_state = (uint64_t)getpid() ^ (uint64_t)time(NULL);
  // An interrupt from the keyboard goes to all processes; this one ends when its input does.
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);

  char *options[] = {argv[0], "-o", "fsname=mmapdb-power-disk", NULL};
  struct fuse_args args = FUSE_ARGS_INIT(3, options);
  fuse = fuse_new(&args, &OPERATIONS, sizeof OPERATIONS, NULL);
  if (fuse == NULL) return 1;
  if (fuse_mount(fuse, argv[2]) != 0) return 1;
  pthread_t commands;
  if (pthread_create(&commands, NULL, read_commands, NULL) != 0) fail("pthread_create");
  printf("{\"ready\":true}\n");
  fflush(stdout);
  fuse_loop_mt(fuse, 0);
  // Unmounted from outside.
  _exit(0);
}
