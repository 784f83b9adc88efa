// A file (or nothing) seen through windows of address space, each mapped when it is first needed.
//
// A shared mapping exists once for a file, a window size and a process, whichever threads use it, and
// lives until the last std::shared_ptr to it is gone: every open region holds one, and so does every
// ArrayBuffer over it, so JavaScript can never reach unmapped memory. A window never moves and is
// mapped as a whole although the file may be shorter; when the file grows, its new pages can be read
// at once. So what is not touched costs no address space, and no file outgrows its mapping.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "descriptor.h"
#include "fault_guard.h"
#include "file_id.h"

namespace mmapdb {

enum class MappingMode { kShared = 0, kPrivate = 1, kAnonymous = 2, kProcess = 3 };

class Mapping {
 public:
  // Shared: finds the process's mapping of the file or makes it. `path` is unused if anonymous.
  // Process: memory that the process's threads share under the name of a file; `create` makes it again.
  // `windowBytes`: a multiple of the page size. Maps no window.
  static std::shared_ptr<Mapping> Open(MappingMode mode, const std::string& path, int64_t windowBytes, bool create,
                                       bool readOnly);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Where window `index` lies; maps it if needed. Throws SystemError (ENOMEM) if there is no
  // address space for it. The same address each time.
  char* Window(int64_t index);
  // How many pages were lost, in all windows. Lives as long as the mapping.
  std::atomic<int32_t>* faultCount() { return &faultCount_; }
  // The file that is mapped.
  FileIdentity Identity() const { return IdentityOf(file_.get()); }

  // Shared: of the file, now. Else: of the file when it was opened, or as grown since.
  int64_t SizeBytes();
  // True if [offset, offset + length) lies within SizeBytes(). Asks the kernel only if the size it knows is too small.
  bool Contains(int64_t offset, int64_t length);
  void Grow(int64_t sizeBytes);
  // Shared and writable only (EINVAL otherwise).
  void Truncate(int64_t sizeBytes);
  // Only shared mappings have anything to flush.
  void Flush();
  // From now on a load reads the page it needs and no page around it, in all windows.
  void ReadRandomly();
  // Starts to read pages of 4096 bytes, given by their numbers in any order; sorts them. Advice: a
  // page that does not exist, is not mapped, or cannot be read, is ignored.
  void WillNeed(std::vector<uint32_t>* pages);
  // True if none of these pages would have to be read from disk. False, too, for a window that is not mapped.
  bool AreInMemory(const uint32_t* pages, size_t count);
  // Fills a page of 4096 bytes that will be overwritten as a whole with zeros, in memory, so that its
  // old contents need not be read first. Advice: without it the page is read.
  void WillOverwrite(uint32_t page);

 private:
  struct MappedWindow {
    char* base;
    GuardedRange* guarded;
  };

  Mapping(MappingMode mode, Descriptor file, int64_t windowBytes, bool readOnly);
  static std::shared_ptr<Mapping> OpenMemory(Descriptor file, int64_t windowBytes, bool create);
  char* MapWindow(int64_t index) const;

  const MappingMode mode_;
  const bool readOnly_;
  const Descriptor file_;
  const int64_t windowBytes_;
  // Private: bytes of the file when it was opened. What follows them is memory of the mapping.
  int64_t ownFromBytes_ = 0;
  std::mutex mutex_;  // of the two below
  std::unordered_map<int64_t, MappedWindow> windows_;
  bool readsRandomly_ = false;
  std::atomic<int32_t> faultCount_{0};
  // Shared: the last size seen. Else: the size.
  std::atomic<int64_t> sizeBytes_{0};
};

}  // namespace mmapdb
