// What the facilities below the N-API layer throw. Nothing in this layer knows of Node.js.
#pragma once

#include <exception>

namespace mmapdb {

// An error that the kernel returned.
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

}  // namespace mmapdb
