// Which file a path leads to, asked for often.
#pragma once

#include <cstdint>
#include <string>

namespace mmapdb {

// The inode number, or 0 if there is no file. Asks for nothing else: a look at a file's times makes
// its next write store a finer one (Linux 6.13 and later), and the flush after that slower by a third.
// Throws SystemError (EACCES, EIO, ...).
uint64_t FileId(const std::string& path);

}  // namespace mmapdb
