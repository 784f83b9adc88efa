#include "later_flush.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <system_error>
#include <utility>

#include "signals.h"
#include "system_error.h"

namespace mmapdb {

namespace {

constexpr int kMostThreads = 8;
constexpr std::chrono::seconds kIdleTime{5};

// The threads of the process. Never destroyed: they may run until the process is gone.
class Pool {
 public:
  static Pool& Get() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  void Add(LaterFlush* flush) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_ <= static_cast<int>(queue_.size()) && threads_ < kMostThreads) StartThread();
    queue_.push_back(flush);
    added_.notify_one();
  }

  // False if a thread has taken it.
  bool Remove(LaterFlush* flush) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto at = std::find(queue_.begin(), queue_.end(), flush);
    if (at == queue_.end()) return false;
    queue_.erase(at);
    return true;
  }

 private:
  void StartThread() {
    try {
      WithoutSignals([this] { Run(); }).detach();
      threads_++;
    } catch (const std::system_error&) {
      // Those that there are will do it, only later.
      if (threads_ == 0) throw SystemError(EAGAIN, "clone");
    }
  }

  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      idle_++;
      const bool hasWork = added_.wait_for(lock, kIdleTime, [this] { return !queue_.empty(); });
      idle_--;
      if (!hasWork) break;
      LaterFlush* const flush = queue_.front();
      queue_.pop_front();
      lock.unlock();
      flush->Run();
      lock.lock();
    }
    threads_--;
  }

  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<LaterFlush*> queue_;
  int threads_ = 0;
  int idle_ = 0;
};

}  // namespace

LaterFlush::LaterFlush(std::shared_ptr<Mapping> mapping, std::function<void(int)> onDone)
    : mapping_(std::move(mapping)), onDone_(std::move(onDone)) {}

LaterFlush::~LaterFlush() {
  // A flush that no thread has taken is not made: nobody waits for it any more.
  if (Pool::Get().Remove(this)) {
    close(fd_);
    return;
  }
  std::unique_lock<std::mutex> lock(mutex_);
  isEnding_ = true;
  changed_.wait(lock, [this] { return state_ == State::kIdle; });
}

void LaterFlush::Start(int fd, uint32_t* failed, uint32_t value) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    // The caller may have been told of the flush before by now, and its thread not be done with that.
    changed_.wait(lock, [this] { return state_ != State::kTelling; });
    if (state_ != State::kIdle) throw SystemError(EBUSY, "fdatasync");
    // The caller may close its own meanwhile. Errors of writing are told to each open file once, and both are one.
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) throw SystemError(errno, "fcntl");
    fd_ = own;
    failed_ = failed;
    value_ = value;
    state_ = State::kQueued;
  }
  try {
    Pool::Get().Add(this);
  } catch (...) {
    close(fd_);
    Become(State::kIdle);
    throw;
  }
}

void LaterFlush::Become(State state) {
  const std::lock_guard<std::mutex> lock(mutex_);
  state_ = state;
  // Under the mutex: who waits may destroy this as soon as it sees the state.
  changed_.notify_all();
}

void LaterFlush::Run() {
  Become(State::kFlushing);
  int err;
  do {
    err = fdatasync(fd_) == 0 ? 0 : errno;
  } while (err == EINTR);
  if (err != 0) {
    uint32_t none = 0;
    __atomic_compare_exchange_n(failed_, &none, value_, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
  close(fd_);
  bool isEnding;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    isEnding = isEnding_;
    state_ = State::kTelling;
  }
  if (!isEnding) onDone_(err);
  Become(State::kIdle);
}

}  // namespace mmapdb
