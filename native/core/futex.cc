#include "futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <ctime>

#include "system_error.h"

namespace mmapdb {

FutexResult FutexWait(uint32_t* word, uint32_t expected, double timeoutMs) {
  // Longer than this (30 years) counts as for ever.
  constexpr double kForeverMs = 1e12;
  struct timespec limit = {};
  struct timespec* limitOrNull = nullptr;
  if (timeoutMs < kForeverMs) {
    const double seconds = std::floor(timeoutMs / 1000);
    limit.tv_sec = static_cast<time_t>(seconds);
    limit.tv_nsec = static_cast<long>((timeoutMs - seconds * 1000) * 1e6);
    limitOrNull = &limit;
  }
  if (syscall(SYS_futex, word, FUTEX_WAIT, expected, limitOrNull, nullptr, 0) == 0) {
    return FutexResult::kWoken;
  }
  switch (errno) {
    case EINTR:
      return FutexResult::kWoken;
    case EAGAIN:
      return FutexResult::kChanged;
    case ETIMEDOUT:
      return FutexResult::kTimedOut;
    default:
      throw SystemError(errno, "futex");
  }
}

int FutexWake(uint32_t* word, int count) {
  const long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  if (woken < 0) throw SystemError(errno, "futex");
  return static_cast<int>(woken);
}

}  // namespace mmapdb
