// Owner and permissions of files that join others.
#pragma once

#include <string>

namespace mmapdb {

// Gives a file or directory that this process has just made (mode 0600 or 0700, nothing in it) the owner,
// group and permissions of `model`, access control list included. What this user may not set stays as it
// is; then no user gets a permission that the model does not give. Throws SystemError.
void TakeAfter(int fd, const std::string& model);

}  // namespace mmapdb
