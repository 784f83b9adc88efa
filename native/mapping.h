// A range of address space, reserved once, with a file (or nothing) behind it.
//
// A shared mapping exists once per file and process, whichever threads use it, and lives until the
// last std::shared_ptr to it is gone: every open region holds one, and so does every ArrayBuffer
// over it, so JavaScript can never reach unmapped memory. The whole reserve is mapped over the file
// although the file is shorter; when the file grows, its new pages are simply there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "descriptor.h"
#include "fault_guard.h"

namespace mmapdb {

enum class MappingMode { kShared = 0, kPrivate = 1, kAnonymous = 2 };

class Mapping {
 public:
  // Shared: finds the process's mapping of the file or makes it. `path` is unused if anonymous.
  static std::shared_ptr<Mapping> Open(MappingMode mode, const std::string& path,
                                       size_t reserveBytes, bool create, bool readOnly);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* base() const { return base_; }
  GuardedRange* guarded() const { return guarded_; }

  // Shared: of the file, now. Else: of the file when it was opened, or as grown since.
  int64_t SizeBytes();
  // True if [offset, offset + length) lies within SizeBytes(). Asks the kernel only when in doubt.
  bool Contains(int64_t offset, int64_t length);
  void Grow(int64_t sizeBytes);
  // Shared and writable only (EINVAL otherwise).
  void Truncate(int64_t sizeBytes);
  // Only shared mappings have anything to flush.
  void Flush();
  void Sync(int64_t offset, int64_t length);
  void Advise(int64_t offset, int64_t length, int advice);
  // Begins to read pages of 4096 bytes, named by their numbers in any order; sorts them. Advice: a
  // page that is not there, or cannot be read, has no consequence.
  void WillNeed(std::vector<uint32_t>* pages);
  // Gives a page of 4096 bytes that will be overwritten as a whole new contents, zeros, in memory,
  // so that what it held need not be read first. Advice: without it the page is read.
  void WillOverwrite(uint32_t page);
  void Lock(int64_t offset, int64_t length);
  void Unlock(int64_t offset, int64_t length);

 private:
  Mapping(MappingMode mode, Descriptor file, size_t reserveBytes, bool readOnly);

  const MappingMode mode_;
  const bool readOnly_;
  const Descriptor file_;
  const size_t reserveBytes_;
  char* base_ = nullptr;
  GuardedRange* guarded_ = nullptr;
  // Shared: the last size seen. Else: the size.
  std::atomic<int64_t> sizeBytes_{0};
};

}  // namespace mmapdb
