#include "allocate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "system_error.h"

namespace mmapdb {

namespace {

constexpr size_t kZerosBytes = 64 * 1024;
const char kZeros[kZerosBytes] = {};

// For file systems without fallocate (NFSv3, ext3, ramfs). Every write goes to the end that the
// file has at that moment (RWF_APPEND), so it can never overwrite what another process has put
// there meanwhile. Two at once may make the file a little longer than either asked for.
void AppendZeros(int fd, int64_t sizeBytes) {
  for (;;) {
    const int64_t missing = sizeBytes - FileSizeBytes(fd);
    if (missing <= 0) return;
    iovec part = {const_cast<char*>(kZeros), static_cast<size_t>(std::min<int64_t>(missing, kZerosBytes))};
    const ssize_t written = pwritev2(fd, &part, 1, 0, RWF_APPEND);
    if (written < 0 && errno != EINTR) throw SystemError(errno, "pwritev2");
    if (written == 0) throw SystemError(EIO, "pwritev2");
  }
}

}  // namespace

int64_t FileSizeBytes(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) throw SystemError(errno, "fstat");
  return status.st_size;
}

void Allocate(int fd, int64_t sizeBytes) {
  for (;;) {
    // What the file has already is not looked at again: that would take the longer, the longer the file is.
    const int64_t from = FileSizeBytes(fd);
    if (from >= sizeBytes) return;
    if (fallocate(fd, 0, from, sizeBytes - from) == 0) return;
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return AppendZeros(fd, sizeBytes);
    throw SystemError(errno, "fallocate");
  }
}

}  // namespace mmapdb
