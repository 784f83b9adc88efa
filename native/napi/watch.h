// Brings the changes of a word to the event loop of one environment: a function of JavaScript is called after the word
// has changed. It does not keep the event loop alive.
//
// Two threads meet here, and the function may be called late. So what the function needs belongs to Node's
// thread-safe function, which deletes it when no call can come any more; and whichever way a watch ends (closed,
// collected, its environment ending), the thread has ended before anything is given back. The cleanup hook is added
// after the thread-safe function was made, so that it runs before that function's own hook.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/mapping.h"

namespace mmapdb {

class Watch {
 public:
  Watch(napi_env env, std::shared_ptr<Mapping> mapping, uint32_t* word, napi_value onChange);
  // The function is not called afterwards.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  struct State;

  static void OnEnvironmentExit(void* self);

  const napi_env env_;
  // Belongs to the thread-safe function; null once that is released.
  State* state_ = nullptr;
};

}  // namespace mmapdb
