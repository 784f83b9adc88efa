#include "file_id.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "system_error.h"

namespace mmapdb {

namespace {

FileIdentity Identity(const struct statx& status) {
  constexpr double kMinors = 1 << 20;
  return {status.stx_dev_major * kMinors + status.stx_dev_minor, static_cast<double>(status.stx_ino)};
}

}  // namespace

FileIdentity IdentityOf(int fd) {
  struct statx status;
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_SYNC_AS_STAT, STATX_INO, &status) != 0) {
    throw SystemError(errno, "statx");
  }
  return Identity(status);
}

bool LeadsTo(int directory, const std::string& path, const FileIdentity& file) {
  struct statx status;
  if (statx(directory, path.c_str(), AT_STATX_SYNC_AS_STAT, STATX_INO, &status) == 0) {
    return Identity(status) == file;
  }
  // Part of the path is a file, so nothing can lie at the path.
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw SystemError(errno, "statx");
}

}  // namespace mmapdb
