#include "file_id.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "system_error.h"

namespace mmapdb {

uint64_t FileId(const std::string& path) {
  struct statx status;
  if (statx(AT_FDCWD, path.c_str(), AT_STATX_SYNC_AS_STAT, STATX_INO, &status) == 0) {
    return status.stx_ino;
  }
  // Something on the way there is a file, so there is nothing there.
  if (errno == ENOENT || errno == ENOTDIR) return 0;
  throw SystemError(errno, "statx");
}

}  // namespace mmapdb
