// Giving a file real blocks, so that no later store into it can meet a full disk.
#pragma once

#include <cstdint>

namespace mmapdb {

int64_t FileSizeBytes(int fd);

// Makes the file at least `sizeBytes` long, with its first `sizeBytes` backed by blocks. Existing
// bytes stay, new bytes are zero. Throws SystemError (ENOSPC, ...). The file may then be longer than
// before; all of it is backed by blocks.
void Allocate(int fd, int64_t sizeBytes);

}  // namespace mmapdb
