#include "word_watch.h"

#include <climits>
#include <utility>

#include <time.h>

#include "futex.h"
#include "signals.h"
#include "system_error.h"

namespace mmapdb {

namespace {

// Who sleeps on a page that is lost meanwhile (fault_guard.h) cannot be woken: another page lies there now, and a
// wake-up goes to that. So nobody sleeps for ever: the destructor waits for the thread.
constexpr double kLongestSleepMs = 500;
// Between two wake-ups of a thread that is to end and has not yet looked.
constexpr long kPauseNs = 20'000;

}  // namespace

WordWatch::WordWatch(std::shared_ptr<Mapping> mapping, uint32_t* word, std::function<void()> onChange)
    : mapping_(std::move(mapping)), word_(word), onChange_(std::move(onChange)) {
  const uint32_t seen = __atomic_load_n(word_, __ATOMIC_SEQ_CST);
  thread_ = WithoutSignals([this, seen] { Run(seen); });
}

WordWatch::~WordWatch() {
  isEnding_ = true;
  // A wake-up between the thread's look at the flag and its sleep is lost, so there is another one.
  while (!hasEnded_) {
    try {
      FutexWake(word_, INT_MAX);
    } catch (const SystemError&) {
      // The page is gone; the thread meets the same and ends.
    }
    const struct timespec pause = {0, kPauseNs};
    nanosleep(&pause, nullptr);
  }
  thread_.join();
}

void WordWatch::Run(uint32_t seen) {
  try {
    while (!isEnding_) {
      FutexWait(word_, seen, kLongestSleepMs);
      const uint32_t now = __atomic_load_n(word_, __ATOMIC_SEQ_CST);
      if (now == seen || isEnding_) continue;
      seen = now;
      onChange_();
    }
  } catch (const SystemError&) {
    // Nothing can be waited for in a page that is gone. Users of a watch also look for themselves from time to time.
  }
  hasEnded_ = true;
}

}  // namespace mmapdb
