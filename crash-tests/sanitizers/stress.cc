// The parts of the addon that threads share, without Node.js around them, so that a sanitizer sees
// every access: the registry of mappings, growth, the fault guard, futexes, lost files, the pool that flushes.
//
//   stress SECONDS THREADS DIRECTORY SEED
//
// What is checked here is the sanitizers' business and a little of its own: that words arrive, that a
// file has one mapping for all who have it open, and that lost pages read as zeros and are counted.
// locks.cc and region.cc are not here: they hold nothing that two threads share but what is below them,
// and they are N-API through and through; stress.ts drives them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../native/core/allocate.h"
#include "../../native/core/descriptor.h"
#include "../../native/core/system_error.h"
#include "../../native/core/futex.h"
#include "../../native/core/later_flush.h"
#include "../../native/core/mapping.h"

namespace {

using mmapdb::Mapping;
using mmapdb::MappingMode;

constexpr int64_t kWindowBytes = 256 << 10;
constexpr int kFiles = 3;
constexpr int64_t kPageBytes = 4096;

std::atomic<bool> over{false};
std::atomic<int64_t> rounds{0};
std::atomic<int64_t> lostPages{0};
std::string directory;
uint32_t seed = 0;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "stress: %s\n", what);
  std::abort();
}

std::string FileName(const char* kind, int n) { return directory + "/" + kind + std::to_string(n); }

// Words in the map are shared with others by intent: atomics, as JavaScript's.
uint32_t Load(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
void Store(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

// Opens, grows, writes and drops mappings of a few files, all threads at once.
void Registry(int thread) {
  std::mt19937 random(seed + thread);
  std::vector<std::shared_ptr<Mapping>> kept;
  while (!over) {
    const std::string path = FileName("registry", random() % kFiles);
    const bool readOnly = random() % 8 == 0;
    // Now and then one with other windows than the one that is there.
    const int64_t windowBytes = kWindowBytes << (random() % 16 == 0);
    std::shared_ptr<Mapping> mapping;
    try {
      mapping = Mapping::Open(MappingMode::kShared, path, windowBytes, !readOnly, readOnly);
    } catch (const mmapdb::SystemError& error) {
      if (error.err != ENOENT) throw;
      continue;
    }
    if (!readOnly) {
      const auto twin = Mapping::Open(MappingMode::kShared, path, kPageBytes, false, false);
      mapping->Grow((1 + random() % 64) * kPageBytes);
      // A window far after the first, which one of the threads maps.
      mapping->Window(random() % 64);
      const int64_t at = (thread * 64) % kPageBytes;
      if (!mapping->Contains(at, 4)) Fail("a file that has been grown does not contain its first page");
      auto* mine = reinterpret_cast<uint32_t*>(mapping->Window(0) + at);
      auto* same = reinterpret_cast<uint32_t*>(twin->Window(0) + at);
      const uint32_t value = random();
      Store(mine, value);
      if (Load(same) != value) Fail("two mappings of one file differ");
      if (random() % 8 == 0) mapping->Flush();
      if (random() % 8 == 0) mapping->ReadRandomly();
      if (random() % 8 == 0) {
        std::vector<uint32_t> pages = {63, 1, 0, 64, 128};
        mapping->WillNeed(&pages);
      }
    } else if (mapping->SizeBytes() > 0) {
      Load(reinterpret_cast<uint32_t*>(mapping->Window(0)));
    }
    if (random() % 4 == 0) kept.push_back(std::move(mapping));
    if (kept.size() > 6) kept.erase(kept.begin(), kept.begin() + random() % kept.size());
    rounds++;
  }
}

// Memory of one's own, grown while it is in use.
void OwnMemory(int thread) {
  std::mt19937 random(seed + thread);
  const std::string path = FileName("private", thread);
  mmapdb::Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  mmapdb::Allocate(file.get(), 3 * kPageBytes + 100);
  while (!over) {
    const bool anonymous = random() % 2 == 0;
    const auto mapping =
        Mapping::Open(anonymous ? MappingMode::kAnonymous : MappingMode::kPrivate, path, kWindowBytes, false, false);
    for (int64_t bytes = mapping->SizeBytes(); bytes < 64 * kPageBytes; bytes += 1 + random() % 20000) {
      mapping->Grow(bytes);
      if (bytes > 0) mapping->Window(0)[bytes - 1] = static_cast<char>(bytes);
    }
    rounds++;
  }
}

// A file that is cut short again and again under its readers.
void LosePages(int thread) {
  std::mt19937 random(seed + thread);
  const std::string path = FileName("lost", thread);
  while (!over) {
    // The next one of the name is another file, perhaps of the same inode number.
    unlink(path.c_str());
    auto mapping = Mapping::Open(MappingMode::kShared, path, kWindowBytes, true, false);
    mapping->Grow(16 * kPageBytes);
    mapping->Window(0)[0] = 1;
    std::thread reader([&] {
      const auto again = Mapping::Open(MappingMode::kShared, path, kWindowBytes, false, false);
      for (int page = 0; page < 16; page++) {
        if (Load(reinterpret_cast<uint32_t*>(again->Window(0) + page * kPageBytes)) > 1)
          Fail("a lost page does not read as zeros");
      }
    });
    if (truncate(path.c_str(), kPageBytes * (random() % 2)) != 0) Fail("truncate failed");
    reader.join();
    for (int page = 2; page < 16; page++) {
      if (Load(reinterpret_cast<uint32_t*>(mapping->Window(0) + page * kPageBytes)) != 0)
        Fail("a lost page does not read as zeros");
    }
    const int32_t faults = mapping->faultCount()->load();
    if (faults < 14) Fail("lost pages were not counted");
    lostPages += faults;
    rounds++;
  }
}

// Hands a number over and back, each side sleeping until it is its turn; what is beside the word is
// plain memory that the futex alone orders.
void PingPong(int thread) {
  const std::string path = FileName("futex", thread);
  const auto mapping = Mapping::Open(MappingMode::kShared, path, kWindowBytes, true, false);
  mapping->Grow(kPageBytes);
  auto* turn = reinterpret_cast<uint32_t*>(mapping->Window(0));
  auto* number = turn + 16;
  Store(turn, 0);
  *number = 0;
  std::atomic<bool> done{false};
  const auto play = [&](uint32_t me) {
    for (int n = 0; n < 200; n++) {
      while (Load(turn) % 2 != me) mmapdb::FutexWait(turn, me ^ 1, 20);
      (*number)++;
      Store(turn, me ^ 1);
      mmapdb::FutexWake(turn, 1);
    }
  };
  while (!over) {
    const uint32_t before = *number;
    std::thread other(play, 1);
    play(0);
    other.join();
    if (*number != before + 400) Fail("a number was lost on the way");
    rounds++;
  }
}

// Flushes by the threads of the pool: told, failed, followed by the next at once, and given up in the middle.
void FlushLater(int thread) {
  std::mt19937 random(seed + thread);
  const std::string path = FileName("flushed", thread);
  const auto mapping = Mapping::Open(MappingMode::kShared, path, kWindowBytes, true, false);
  mapping->Grow(kPageBytes);
  auto* failed = reinterpret_cast<uint32_t*>(mapping->Window(0));
  mmapdb::Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  // It cannot be flushed.
  mmapdb::Descriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  while (!over) {
    std::atomic<int> told{0};
    // Plain memory that the flush alone orders.
    int lastError = 0;
    mmapdb::LaterFlush flush(mapping, [&](int error) {
      lastError = error;
      told++;
    });
    const int flushes = 1 + random() % 4;
    for (int n = 1; n <= flushes; n++) {
      const bool fails = random() % 4 == 0;
      Store(failed, 0);
      flush.Start(fails ? null.get() : file.get(), failed, 7);
      try {
        flush.Start(file.get(), failed, 7);
        if (told < n) Fail("two flushes are under way");
        break;
      } catch (const mmapdb::SystemError& error) {
        if (error.err != EBUSY) throw;
      }
      if (n == flushes && random() % 2 == 0) break;
      while (told < n) std::this_thread::yield();
      if (Load(failed) != (fails ? 7u : 0u) || (lastError != 0) != fails) Fail("a flush is told wrongly");
    }
    rounds++;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) Fail("usage: stress SECONDS THREADS DIRECTORY SEED");
  const int seconds = std::atoi(argv[1]);
  const int threadCount = std::atoi(argv[2]);
  directory = argv[3];
  seed = std::strtoul(argv[4], nullptr, 10);
  const std::function<void(int)> parts[] = {Registry, OwnMemory, LosePages, PingPong, FlushLater};
  std::vector<std::thread> threads;
  for (int i = 0; i < threadCount; i++) threads.emplace_back(parts[i % std::size(parts)], i);
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  over = true;
  for (auto& thread : threads) thread.join();
  // Threads that flush end when they have been idle for 5 s. What glibc keeps for one that still lives looks lost.
  std::this_thread::sleep_for(std::chrono::seconds(7));
  std::printf("stress: %d threads, %lld rounds, %lld lost pages\n", threadCount, static_cast<long long>(rounds),
              static_cast<long long>(lostPages));
}
