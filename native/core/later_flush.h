// Flushes files on other threads, for one that must not be held up by it. A few threads serve the whole process,
// however many databases it has open; they start when there is work and end when there has been none for a while.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "mapping.h"

namespace mmapdb {

// One flush at a time.
class LaterFlush {
 public:
  // `onDone` is called on another thread after each flush, with its errno or 0.
  LaterFlush(std::shared_ptr<Mapping> mapping, std::function<void(int)> onDone);
  // Waits for a flush that has begun: `onDone` is not called afterwards.
  ~LaterFlush();
  LaterFlush(const LaterFlush&) = delete;
  LaterFlush& operator=(const LaterFlush&) = delete;

  // Has what was written to a file flushed. If that fails, `value` is stored in `failed`, a word of the mapping, if it
  // is 0: before anything else happens. Throws SystemError: EBUSY if a flush is under way, EAGAIN if there can be no
  // thread.
  void Start(int fd, uint32_t* failed, uint32_t value);

  // What a thread of the pool does with it.
  void Run();

 private:
  enum class State { kIdle, kQueued, kFlushing, kTelling };

  void Become(State state);

  const std::shared_ptr<Mapping> mapping_;
  const std::function<void(int)> onDone_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Under the mutex.
  State state_ = State::kIdle;
  bool isEnding_ = false;
  // A descriptor of its own for the file to flush.
  int fd_ = -1;
  uint32_t* failed_ = nullptr;
  uint32_t value_ = 0;
};

}  // namespace mmapdb
