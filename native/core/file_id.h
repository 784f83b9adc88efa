// Which file a descriptor or a path leads to.
#pragma once

#include <cstdint>
#include <string>

namespace mmapdb {

// No other file of this machine has the same two numbers while a process has this one open. They are
// doubles, as JavaScript has them: inode numbers beyond 2^53 lose their lowest bits, the same each
// time.
struct FileIdentity {
  double device;
  double inode;
  bool operator==(const FileIdentity& other) const { return device == other.device && inode == other.inode; }
};

// Throws SystemError.
FileIdentity IdentityOf(int fd);

// True if `path` leads to the file. A relative path is looked up from `directory`, a descriptor or
// AT_FDCWD. Asks for nothing else: reading a file's times makes its next write store a finer one
// (Linux 6.13 and later), which makes the flush after that slower by a third. Throws SystemError
// (EACCES, EIO, ...).
bool LeadsTo(int directory, const std::string& path, const FileIdentity& file);

}  // namespace mmapdb
