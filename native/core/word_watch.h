// A thread that sleeps on a word of mapped memory for others who must not sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "mapping.h"

namespace mmapdb {

// Calls `onChange`, on a thread of its own, after the word has changed and its waiters were woken (FutexWake). Several
// changes may be told as one. The word counts from the construction on: no change after that is missed.
class WordWatch {
 public:
  // `word` lies in `mapping`. Throws std::system_error if there can be no other thread.
  WordWatch(std::shared_ptr<Mapping> mapping, uint32_t* word, std::function<void()> onChange);
  // Ends the thread, and waits until it has ended: `onChange` is not called afterwards.
  ~WordWatch();
  WordWatch(const WordWatch&) = delete;
  WordWatch& operator=(const WordWatch&) = delete;

 private:
  void Run(uint32_t seen);

  const std::shared_ptr<Mapping> mapping_;
  uint32_t* const word_;
  const std::function<void()> onChange_;
  std::atomic<bool> isEnding_{false};
  std::atomic<bool> hasEnded_{false};
  std::thread thread_;
};

}  // namespace mmapdb
