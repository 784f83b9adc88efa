#include "flusher.h"

#include <cerrno>
#include <utility>

#include "../core/later_flush.h"
#include "../core/system_error.h"

namespace mmapdb {

struct Flusher::State {
  napi_threadsafe_function call = nullptr;
  bool isClosed = false;
  // Destroyed first: the thread that flushes uses what stands above.
  std::unique_ptr<LaterFlush> flush;

  static void Call(napi_env env, napi_value onDone, void* context, void* data) {
    State* state = static_cast<State*>(context);
    // Without an environment the call is only taken off the queue.
    if (env == nullptr || state->isClosed) return;
    napi_unref_threadsafe_function(env, state->call);
    napi_value undefined, err, error;
    if (napi_get_undefined(env, &undefined) != napi_ok) return;
    if (napi_create_int64(env, reinterpret_cast<intptr_t>(data), &err) != napi_ok) return;
    if (napi_call_function(env, undefined, onDone, 1, &err, nullptr) == napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  static void Delete(napi_env, void* state, void*) { delete static_cast<State*>(state); }
};

Flusher::Flusher(napi_env env, std::shared_ptr<Mapping> mapping, napi_value onDone) : env_(env) {
  auto state = std::make_unique<State>();
  napi_value name;
  if (napi_create_string_utf8(env, "mmapdb.flush", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, onDone, nullptr, name, 0, 1, state.get(), State::Delete, state.get(),
                                      State::Call, &state->call) != napi_ok) {
    throw SystemError(ENOMEM, "clone");
  }
  state_ = state.release();
  try {
    if (napi_unref_threadsafe_function(env, state_->call) != napi_ok ||
        napi_add_env_cleanup_hook(env, OnEnvironmentExit, this) != napi_ok) {
      throw SystemError(ENOMEM, "clone");
    }
    State* const shared = state_;
    state_->flush = std::make_unique<LaterFlush>(std::move(mapping), [shared](int err) {
      napi_call_threadsafe_function(shared->call, reinterpret_cast<void*>(static_cast<intptr_t>(err)),
                                    napi_tsfn_nonblocking);
    });
  } catch (...) {
    napi_remove_env_cleanup_hook(env, OnEnvironmentExit, this);
    napi_release_threadsafe_function(state_->call, napi_tsfn_abort);
    throw;
  }
}

Flusher::~Flusher() {
  if (state_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  state_->isClosed = true;
  state_->flush.reset();
  napi_release_threadsafe_function(state_->call, napi_tsfn_abort);
}

void Flusher::Start(int fd, uint32_t* failed, uint32_t value) {
  state_->flush->Start(fd, failed, value);
  napi_ref_threadsafe_function(env_, state_->call);
}

void Flusher::OnEnvironmentExit(void* self) {
  Flusher* flusher = static_cast<Flusher*>(self);
  flusher->state_->isClosed = true;
  flusher->state_->flush.reset();
  // Its own hook, which runs next, ends the thread-safe function and deletes the state.
  flusher->state_ = nullptr;
}

}  // namespace mmapdb
