// Calls a function of JavaScript in the event loop of one environment, for another thread: a *source*, which is told
// how when it is made. It does not keep the event loop alive, unless it is told to until the next call.
//
// Two threads meet here, and the function may be called late. So what the function needs belongs to Node's
// thread-safe function, which deletes it when no call can come any more; and whichever way it ends (closed, collected,
// its environment ending), the source has ended before anything is given back. The cleanup hook is added after the
// thread-safe function was made, so that it runs before that function's own hook.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

namespace mmapdb {

class LoopCall {
 public:
  // From any thread: has the function called with this number. Several calls may be made as one, with the last number.
  using Call = std::function<void(int)>;
  // Makes the source. When that has been destroyed, it makes no more calls.
  using MakeSource = std::function<std::shared_ptr<void>(Call)>;

  // `name`: for those who look at what keeps an event loop busy. Throws SystemError, and what `makeSource` throws.
  LoopCall(napi_env env, const char* name, napi_value function, const MakeSource& makeSource);
  // The function is not called afterwards.
  ~LoopCall();
  LoopCall(const LoopCall&) = delete;
  LoopCall& operator=(const LoopCall&) = delete;

  // The event loop stays alive until the next call has been made.
  void KeepAlive();

 private:
  struct State;

  static void OnEnvironmentExit(void* self);

  const napi_env env_;
  // Belongs to the thread-safe function; null once that is released.
  State* state_ = nullptr;
};

}  // namespace mmapdb
