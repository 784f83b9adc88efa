#include "loop_call.h"

#include <atomic>
#include <cerrno>
#include <system_error>

#include "../core/system_error.h"

namespace mmapdb {

struct LoopCall::State {
  napi_threadsafe_function call = nullptr;
  std::atomic<int> number{0};
  // A call is on its way: it will see what comes until it arrives.
  std::atomic<bool> isQueued{false};
  bool isKept = false;
  bool isClosed = false;
  // Destroyed first: its thread uses what stands above.
  std::shared_ptr<void> source;

  void Queue(int newest) {
    number = newest;
    if (!isQueued.exchange(true)) napi_call_threadsafe_function(call, nullptr, napi_tsfn_nonblocking);
  }

  static void Make(napi_env env, napi_value function, void* context, void*) {
    // The function has ended, and its state with it: what had been queued before is only taken off the queue.
    if (env == nullptr) return;
    State* state = static_cast<State*>(context);
    state->isQueued = false;
    if (state->isClosed) return;
    if (state->isKept) napi_unref_threadsafe_function(env, state->call);
    state->isKept = false;
    napi_value undefined, number, error;
    if (napi_get_undefined(env, &undefined) != napi_ok) return;
    if (napi_create_int32(env, state->number, &number) != napi_ok) return;
    if (napi_call_function(env, undefined, function, 1, &number, nullptr) == napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  static void Delete(napi_env, void* state, void*) { delete static_cast<State*>(state); }
};

LoopCall::LoopCall(napi_env env, const char* name, napi_value function, const MakeSource& makeSource) : env_(env) {
  auto state = std::make_unique<State>();
  napi_value text;
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text) != napi_ok ||
      napi_create_threadsafe_function(env, function, nullptr, text, 0, 1, state.get(), State::Delete, state.get(),
                                      State::Make, &state->call) != napi_ok) {
    throw SystemError(ENOMEM, name);
  }
  state_ = state.release();
  try {
    if (napi_unref_threadsafe_function(env, state_->call) != napi_ok ||
        napi_add_env_cleanup_hook(env, OnEnvironmentExit, this) != napi_ok) {
      throw SystemError(ENOMEM, name);
    }
    State* const shared = state_;
    state_->source = makeSource([shared](int number) { shared->Queue(number); });
  } catch (const std::exception& error) {
    napi_remove_env_cleanup_hook(env, OnEnvironmentExit, this);
    napi_release_threadsafe_function(state_->call, napi_tsfn_abort);
    // std::thread says so if there can be no further thread.
    if (dynamic_cast<const std::system_error*>(&error) != nullptr) throw SystemError(EAGAIN, "clone");
    throw;
  }
}

LoopCall::~LoopCall() {
  if (state_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  state_->isClosed = true;
  state_->source.reset();
  napi_release_threadsafe_function(state_->call, napi_tsfn_abort);
}

void LoopCall::KeepAlive() {
  if (!state_->isKept) napi_ref_threadsafe_function(env_, state_->call);
  state_->isKept = true;
}

void LoopCall::OnEnvironmentExit(void* self) {
  LoopCall* loop = static_cast<LoopCall*>(self);
  loop->state_->isClosed = true;
  loop->state_->source.reset();
  // Its own hook, which runs next, ends the thread-safe function and deletes the state.
  loop->state_ = nullptr;
}

}  // namespace mmapdb
