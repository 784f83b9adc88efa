// Keeps the process alive when a page of a mapped file cannot be had: an I/O error, a file cut
// short under the map, a full disk under a hole.
//
// The kernel reports these as SIGBUS. One process-wide handler, installed with the first mapping,
// puts a page of zeros in the lost page's place, counts it, and lets the instruction go on; whoever
// reads the page finds out by the count (and by checksums). A lost page stays lost for as long as
// the mapping lives: it is this process's own memory from then on, not the file's. After very many
// lost pages whole ranges are replaced.
// Any other SIGBUS goes to whoever handled it before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mmapdb {

// One guarded range. Lies in a table that is never freed, so the handler never follows a dead pointer.
struct GuardedRange {
  std::atomic<bool> taken;
  std::atomic<int> prot;
  std::atomic<uintptr_t> begin;  // 0: not in use
  std::atomic<uintptr_t> end;
  // Counts pages lost here. Lives for as long as the range is guarded, and so while anybody touches it.
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
