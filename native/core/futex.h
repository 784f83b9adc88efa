// Waiting on a word of mapped memory, across threads and processes: futexes without the private
// flag, so the kernel finds the other side by file and offset.
#pragma once

#include <cstdint>

namespace mmapdb {

enum class FutexResult { kWoken = 0, kChanged = 1, kTimedOut = 2 };

// Sleeps while *word == expected. A signal counts as a wake-up: the caller checks again anyway.
FutexResult FutexWait(uint32_t* word, uint32_t expected, double timeoutMs);
// Returns how many were woken.
int FutexWake(uint32_t* word, int count);

}  // namespace mmapdb
