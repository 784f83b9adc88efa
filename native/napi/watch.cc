#include "watch.h"

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "../core/system_error.h"
#include "../core/word_watch.h"

namespace mmapdb {

struct Watch::State {
  napi_threadsafe_function call = nullptr;
  // A call is on its way: it will see what changes until it arrives.
  std::atomic<bool> isQueued{false};
  bool isClosed = false;
  // Destroyed first: its thread uses what stands above.
  std::unique_ptr<WordWatch> watch;

  static void Call(napi_env env, napi_value onChange, void* context, void*) {
    State* state = static_cast<State*>(context);
    state->isQueued = false;
    // Without an environment the call is only taken off the queue.
    if (env == nullptr || state->isClosed) return;
    napi_value undefined, error;
    if (napi_get_undefined(env, &undefined) != napi_ok) return;
    if (napi_call_function(env, undefined, onChange, 0, nullptr, nullptr) == napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  static void Delete(napi_env, void* state, void*) { delete static_cast<State*>(state); }
};

Watch::Watch(napi_env env, std::shared_ptr<Mapping> mapping, uint32_t* word, napi_value onChange) : env_(env) {
  auto state = std::make_unique<State>();
  napi_value name;
  if (napi_create_string_utf8(env, "mmapdb.watch", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, onChange, nullptr, name, 0, 1, state.get(), State::Delete, state.get(),
                                      State::Call, &state->call) != napi_ok) {
    throw SystemError(ENOMEM, "watch");
  }
  state_ = state.release();
  try {
    if (napi_unref_threadsafe_function(env, state_->call) != napi_ok ||
        napi_add_env_cleanup_hook(env, OnEnvironmentExit, this) != napi_ok) {
      throw SystemError(ENOMEM, "watch");
    }
    State* const shared = state_;
    state_->watch = std::make_unique<WordWatch>(std::move(mapping), word, [shared] {
      if (!shared->isQueued.exchange(true)) {
        napi_call_threadsafe_function(shared->call, nullptr, napi_tsfn_nonblocking);
      }
    });
  } catch (const std::exception& error) {
    napi_remove_env_cleanup_hook(env, OnEnvironmentExit, this);
    napi_release_threadsafe_function(state_->call, napi_tsfn_abort);
    // std::thread says so if there can be no further thread.
    if (dynamic_cast<const std::system_error*>(&error) != nullptr) throw SystemError(EAGAIN, "clone");
    throw;
  }
}

Watch::~Watch() {
  if (state_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  state_->isClosed = true;
  state_->watch.reset();
  napi_release_threadsafe_function(state_->call, napi_tsfn_abort);
}

void Watch::OnEnvironmentExit(void* self) {
  Watch* watch = static_cast<Watch*>(self);
  watch->state_->isClosed = true;
  watch->state_->watch.reset();
  // Its own hook, which runs next, ends the thread-safe function and deletes the state.
  watch->state_ = nullptr;
}

}  // namespace mmapdb
