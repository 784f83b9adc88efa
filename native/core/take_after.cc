#include "take_after.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "system_error.h"

namespace mmapdb {

namespace {

const char kAcl[] = "system.posix_acl_access";
constexpr size_t kMaxAclBytes = 65536;

// Empty if the file has no list, or if the file system does not support lists.
std::vector<char> AclOf(const std::string& path) {
  std::vector<char> acl(kMaxAclBytes);
  const ssize_t length = getxattr(path.c_str(), kAcl, acl.data(), acl.size());
  acl.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return acl;
}

}  // namespace

void TakeAfter(int fd, const std::string& model) {
  struct stat wanted;
  struct stat own;
  if (stat(model.c_str(), &wanted) != 0) throw SystemError(errno, "stat");
  if (fstat(fd, &own) != 0) throw SystemError(errno, "fstat");
  if (own.st_uid != wanted.st_uid || own.st_gid != wanted.st_gid) {
    // Only root may give a file away. Other users may give it to a group that they are in.
    if (fchown(fd, wanted.st_uid, wanted.st_gid) != 0 && fchown(fd, static_cast<uid_t>(-1), wanted.st_gid) != 0 &&
        errno != EPERM) {
      throw SystemError(errno, "fchown");
    }
    if (fstat(fd, &own) != 0) throw SystemError(errno, "fstat");
  }
  mode_t mode = wanted.st_mode & (S_ISDIR(own.st_mode) ? 07777 : 0777);
  if (own.st_gid != wanted.st_gid) {
    // For the model, this group counts as others.
    mode = (mode & ~static_cast<mode_t>(S_ISGID | 070)) | ((mode & 07) << 3);
    fremovexattr(fd, kAcl);
  } else {
    const std::vector<char> acl = AclOf(model);
    // With a list, the group bits of the mode limit what the list may give; the list sets them itself.
    if (!acl.empty() && fsetxattr(fd, kAcl, acl.data(), acl.size(), 0) == 0) return;
    if (!acl.empty()) mode &= ~static_cast<mode_t>(070);
    // A list that the directory gives to every file made in it.
    fremovexattr(fd, kAcl);
  }
  if (fchmod(fd, mode) != 0) throw SystemError(errno, "fchmod");
}

}  // namespace mmapdb
