// Giving a file real blocks, so that no later store into it can meet a full disk.
#pragma once

#include <cstdint>

namespace mmapdb {

int64_t FileSizeBytes(int fd);

// Makes the file at least `sizeBytes` long; what it becomes longer by is backed by blocks and zero, and what it had
// stays as it is. Throws SystemError (ENOSPC, ...). The file may then be longer than before.
void Allocate(int fd, int64_t sizeBytes);

}  // namespace mmapdb
