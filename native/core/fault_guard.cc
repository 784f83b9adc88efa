#include "fault_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <mutex>

#include "system_error.h"

namespace mmapdb {

namespace {

// The table grows by a block when it is full. A block is never freed.
struct Block {
  GuardedRange ranges[1024];
  std::atomic<Block*> next;
};
Block firstBlock;
// Lost pages that were replaced one by one, in all ranges.
std::atomic<int32_t> pagesReplaced{0};
struct sigaction previous;
size_t pageBytes = 0;

// Every lost page may take two mappings of its own, and a process may have 65530 by default
// (vm.max_map_count). Once they are used up, not even a replacement can be mapped. So well before
// that a range is replaced as a whole, which takes one mapping.
constexpr int32_t kMaxPagesReplaced = 16384;

bool MapZeros(uintptr_t begin, uintptr_t end, int prot) {
  return mmap(reinterpret_cast<void*>(begin), end - begin, prot,
              MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

bool ReplaceIn(GuardedRange* range, uintptr_t address) {
  const uintptr_t begin = range->begin.load(std::memory_order_relaxed);
  const uintptr_t end = range->end.load(std::memory_order_relaxed);
  const uintptr_t page = address & ~(static_cast<uintptr_t>(pageBytes) - 1);
  const int prot = range->prot.load(std::memory_order_relaxed);
  const bool single =
      pagesReplaced.load(std::memory_order_relaxed) < kMaxPagesReplaced && MapZeros(page, page + pageBytes, prot);
  if (!single && !MapZeros(begin, end, prot)) return false;
  if (single) {
    pagesReplaced.fetch_add(1, std::memory_order_relaxed);
    range->pagesReplaced.fetch_add(1, std::memory_order_relaxed);
  }
  range->faultCount.load(std::memory_order_relaxed)->fetch_add(1, std::memory_order_release);
  return true;
}

// Async-signal-safe: atomics and the mmap system call, nothing else.
bool ReplaceLostPage(uintptr_t address) {
  for (Block* block = &firstBlock; block; block = block->next.load(std::memory_order_acquire)) {
    for (GuardedRange& range : block->ranges) {
      const uintptr_t begin = range.begin.load(std::memory_order_acquire);
      const uintptr_t end = range.end.load(std::memory_order_relaxed);
      if (begin == 0 || address < begin || address >= end) continue;
      return ReplaceIn(&range, address);
    }
  }
  return false;
}

void PassOn(int signal, siginfo_t* info, void* context) {
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  const bool sent = info->si_code <= 0;
  if (previous.sa_handler == SIG_IGN && sent) return;
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    return previous.sa_handler(signal);
  }
  // The default is to die. A real fault recurs by itself on return. A signal that was sent is sent
  // again, and is delivered on return, too.
  struct sigaction fallback = {};
  fallback.sa_handler = SIG_DFL;
  sigaction(signal, &fallback, nullptr);
  if (sent) raise(signal);
}

void OnSigbus(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  // A code of 0 or less: a process sent the signal, and si_addr means nothing. A misaligned access
  // would only fault again on a fresh page.
  const bool lostPage = info->si_code > 0 && info->si_code != BUS_ADRALN;
  if (!lostPage || !ReplaceLostPage(reinterpret_cast<uintptr_t>(info->si_addr))) {
    PassOn(signal, info, context);
  }
  errno = saved;
}

// Once only: if a later handler passes signals on to this one, installing this one again on top
// would make a loop. A SIGBUS handler installed later (process.on('SIGBUS') does that) switches the
// guard off.
void InstallOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    pageBytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    // Read first, so that it is set if the signal comes at once.
    if (sigaction(SIGBUS, nullptr, &previous) != 0 || sigaction(SIGBUS, &action, nullptr) != 0) {
      throw SystemError(errno, "sigaction");
    }
  });
}

}  // namespace

size_t PageBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

GuardedRange* Guard(void* base, size_t lengthBytes, int prot, std::atomic<int32_t>* faultCount) {
  InstallOnce();
  for (Block* block = &firstBlock;;) {
    for (GuardedRange& range : block->ranges) {
      if (range.taken.load(std::memory_order_relaxed) || range.taken.exchange(true, std::memory_order_acq_rel)) {
        continue;
      }
      const uintptr_t begin = reinterpret_cast<uintptr_t>(base);
      range.prot.store(prot, std::memory_order_relaxed);
      range.end.store(begin + lengthBytes, std::memory_order_relaxed);
      range.faultCount.store(faultCount, std::memory_order_relaxed);
      range.pagesReplaced.store(0, std::memory_order_relaxed);
      range.begin.store(begin, std::memory_order_release);
      return &range;
    }
    Block* next = block->next.load(std::memory_order_acquire);
    if (next == nullptr) {
      Block* fresh = new Block();
      // The thread that comes second uses the block of the first.
      if (block->next.compare_exchange_strong(next, fresh))
        next = fresh;
      else
        delete fresh;
    }
    block = next;
  }
}

void Unguard(GuardedRange* range) {
  range->begin.store(0, std::memory_order_release);
  pagesReplaced.fetch_sub(range->pagesReplaced.load(std::memory_order_relaxed));
  range->taken.store(false, std::memory_order_release);
}

}  // namespace mmapdb
