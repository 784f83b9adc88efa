// What a native call throws, and the argument checks that throw it.
//
// TypeError and RangeError are programmer errors. A SystemError is what the kernel answered; it
// becomes a JavaScript Error with `code` ('ENOSPC'), `errno` (negative, as in Node.js) and `syscall`.
#pragma once

#include <napi.h>

#include <cstdint>
#include <exception>
#include <string>

namespace mmapdb {

class SystemError : public std::exception {
 public:
  SystemError(int err, const char* syscall) : err(err), syscall(syscall) {}
  const char* what() const noexcept override { return syscall; }

  const int err;
  const char* const syscall;
};

// A wrong argument found below the N-API layer.
class OutOfRange : public std::exception {
 public:
  explicit OutOfRange(const char* message) : message_(message) {}
  const char* what() const noexcept override { return message_; }

 private:
  const char* message_;
};

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
// value that is not in [min, max].
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()) {}

  static constexpr double kMaxSafeInteger = 9007199254740991.0;

  int64_t Integer(size_t index, const char* name, double min = 0,
                  double max = kMaxSafeInteger) const;
  // A waiting time: any number from 0, Infinity included.
  double Milliseconds(size_t index, const char* name) const;
  bool Boolean(size_t index, const char* name) const;
  std::string Path(size_t index, const char* name) const;

 private:
  double Number(size_t index, const char* name) const;

  const Napi::CallbackInfo& info_;
  Napi::Env env_;
};

}  // namespace mmapdb
