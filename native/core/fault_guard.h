// Keeps the process alive when a page of a mapped file cannot be read: an I/O error, a file cut
// short under the map, a full disk under a hole.
//
// The kernel reports these as SIGBUS. One process-wide handler, installed with the first mapping,
// puts a page of zeros in place of the lost page, counts it, and lets the instruction go on. A
// reader of the page detects the loss by the count (and by checksums). A lost page stays lost for as
// long as the mapping lives: from then on it is memory of this process, not of the file. After very
// many lost pages whole ranges are replaced.
// Any other SIGBUS goes to the handler that was installed before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mmapdb {

// One guarded range. It lies in a table that is never freed, so the handler never follows a dangling pointer.
struct GuardedRange {
  std::atomic<bool> taken;
  std::atomic<int> prot;
  std::atomic<uintptr_t> begin;  // 0: not in use
  std::atomic<uintptr_t> end;
  // Counts pages lost here. Lives for as long as the range is guarded, and so while a thread touches it.
  std::atomic<std::atomic<int32_t>*> faultCount;
  std::atomic<int32_t> pagesReplaced;
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free, "the handler may only touch what needs no lock");
static_assert(sizeof(std::atomic<int32_t>) == sizeof(int32_t), "JavaScript reads it as a plain word");

// Guards [base, base + lengthBytes), counting the pages lost there in `faultCount`. Throws std::bad_alloc.
GuardedRange* Guard(void* base, size_t lengthBytes, int prot, std::atomic<int32_t>* faultCount);
// Call before the memory is unmapped.
void Unguard(GuardedRange* range);

size_t PageBytes();

}  // namespace mmapdb
