// What a native call throws, and the argument checks that throw it.
//
// TypeError and RangeError are programmer errors. A SystemError is an error of the kernel; it
// becomes a JavaScript Error with `code` ('ENOSPC'), `errno` (negative, as in Node.js) and `syscall`.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

#include "../core/system_error.h"

namespace mmapdb {

const char* ErrnoName(int err);

// Runs `body`, turning the exceptions above into JavaScript ones.
[[noreturn]] void ThrowSystemError(Napi::Env env, int err, const char* syscall);

template <typename Body>
auto AtBorder(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const SystemError& error) {
    ThrowSystemError(env, error.err, error.syscall);
  } catch (const OutOfRange& error) {
    throw Napi::RangeError::New(env, error.what());
  }
}

// The arguments of one call. Each getter throws TypeError for a wrong type and RangeError for a
// value outside [min, max].
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()) {}

  static constexpr double kMaxSafeInteger = 9007199254740991.0;

  int64_t Integer(size_t index, const char* name, double min = 0, double max = kMaxSafeInteger) const;
  // A waiting time: any number from 0, Infinity included.
  double Milliseconds(size_t index, const char* name) const;
  bool Boolean(size_t index, const char* name) const;
  std::string Path(size_t index, const char* name) const;
  Napi::Uint32Array Words(size_t index, const char* name) const;
  double Number(size_t index, const char* name) const;

 private:
  const Napi::CallbackInfo& info_;
  Napi::Env env_;
};

}  // namespace mmapdb
