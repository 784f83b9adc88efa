// Flushes files off the event loop of one environment, one after the other, and tells the event loop when each is done.
// The event loop stays alive until then.
//
// It ends like a Watch (watch.h): the flush has ended before anything is given back that it uses.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/mapping.h"

namespace mmapdb {

class Flusher {
 public:
  // `onDone(errno)` is called for each flush; 0 if it went well.
  Flusher(napi_env env, std::shared_ptr<Mapping> mapping, napi_value onDone);
  ~Flusher();
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;

  // See LaterFlush::Start.
  void Start(int fd, uint32_t* failed, uint32_t value);

 private:
  struct State;

  static void OnEnvironmentExit(void* self);

  const napi_env env_;
  // Belongs to the thread-safe function; null once that is released.
  State* state_ = nullptr;
};

}  // namespace mmapdb
