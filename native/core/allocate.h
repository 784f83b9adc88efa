// Giving a file real blocks, so that no later store into it can meet a full disk.
#pragma once

#include <cstdint>

namespace mmapdb {

int64_t FileSizeBytes(int fd);

// Makes the file at least `sizeBytes` long, its first `sizeBytes` backed by blocks; what is there
// stays, what is new is zero. Throws SystemError (ENOSPC, ...); the file may be longer then than it
// was, and is fully backed as far as it goes.
void Allocate(int fd, int64_t sizeBytes);

}  // namespace mmapdb
