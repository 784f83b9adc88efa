// Keeps the process alive when a page of a mapped file cannot be had: an I/O error, a file cut
// short under the map, a full disk under a hole.
//
// The kernel reports these as SIGBUS. One process-wide handler, installed with the first mapping,
// puts a page of zeros in the lost page's place, counts it, and lets the instruction go on; whoever
// reads the page finds out by the count (and by checksums). A lost page stays lost for as long as
// the mapping lives: it is this process's own memory from then on, not the file's. After very many
// lost pages the whole range is replaced.
// Any other SIGBUS goes to whoever handled it before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mmapdb {

// One guarded range. Lies in a static table, so the handler never follows a dead pointer.
struct GuardedRange {
  std::atomic<bool> taken;
  std::atomic<int> prot;
  std::atomic<uintptr_t> begin;  // 0: not in use
  std::atomic<uintptr_t> end;
  std::atomic<int32_t> faultCount;
  std::atomic<int32_t> pagesReplaced;
  std::atomic<int64_t> lastFaultOffset;
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free,
              "the handler may only touch what needs no lock");
static_assert(sizeof(std::atomic<int32_t>) == sizeof(int32_t), "JavaScript reads it as a plain word");

// How many mappings one process can have at a time.
constexpr size_t kMaxGuardedRanges = 4096;

// Guards [base, base + lengthBytes). Throws SystemError (ENFILE) when the table is full.
GuardedRange* Guard(void* base, size_t lengthBytes, int prot);
// Call before the memory is unmapped.
void Unguard(GuardedRange* range);

size_t PageBytes();

}  // namespace mmapdb
