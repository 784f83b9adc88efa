#include "errors.h"

#include <cerrno>
#include <cmath>
#include <cstring>

namespace mmapdb {

const char* ErrnoName(int err) {
// clang-format off
#define NAME(e) case e: return #e;
  switch (err) {
    NAME(E2BIG) NAME(EACCES) NAME(EAGAIN) NAME(EBADF) NAME(EBUSY) NAME(EDEADLK) NAME(EDQUOT) NAME(EEXIST)
    NAME(EFAULT) NAME(EFBIG) NAME(EINTR) NAME(EINVAL) NAME(EIO) NAME(EISDIR) NAME(ELOOP) NAME(EMFILE)
    NAME(EMLINK) NAME(ENAMETOOLONG) NAME(ENFILE) NAME(ENODEV) NAME(ENOENT) NAME(ENOLCK) NAME(ENOMEM)
    NAME(ENOSPC) NAME(ENOSYS) NAME(ENOTDIR) NAME(ENXIO) NAME(EOPNOTSUPP) NAME(EOVERFLOW) NAME(EPERM)
    NAME(EPIPE) NAME(EROFS) NAME(ESPIPE) NAME(ESTALE) NAME(ETIMEDOUT) NAME(ETXTBSY) NAME(EUCLEAN) NAME(EXDEV)
    NAME(EREMOTEIO) NAME(ENOTCONN) NAME(EHOSTDOWN) NAME(ESHUTDOWN) NAME(ENOTRECOVERABLE) NAME(ENODATA)
    NAME(EBADMSG) NAME(EILSEQ)
    default: return "EUNKNOWN";
  }
#undef NAME
  // clang-format on
}

void ThrowSystemError(Napi::Env env, int err, const char* syscall) {
  const char* name = ErrnoName(err);
  char reason[128];
  const char* text = strerror_r(err, reason, sizeof reason);
  Napi::Error error = Napi::Error::New(env, std::string(name) + ": " + text + ", " + syscall);
  error.Set("code", Napi::String::New(env, name));
  error.Set("errno", Napi::Number::New(env, -err));
  error.Set("syscall", Napi::String::New(env, syscall));
  throw error;
}

double Arguments::Number(size_t index, const char* name) const {
  Napi::Value value = info_[index];
  double number;
  if (napi_get_value_double(env_, value, &number) != napi_ok) {
    throw Napi::TypeError::New(env_, std::string(name) + " must be a number");
  }
  return number;
}

int64_t Arguments::Integer(size_t index, const char* name, double min, double max) const {
  const double number = Number(index, name);
  if (!(number >= min && number <= max) || std::trunc(number) != number) {
    throw Napi::RangeError::New(env_, std::string(name) + " must be an integer from " +
                                          std::to_string(static_cast<int64_t>(min)) + " to " +
                                          std::to_string(static_cast<int64_t>(max)));
  }
  return static_cast<int64_t>(number);
}

double Arguments::Milliseconds(size_t index, const char* name) const {
  const double number = Number(index, name);
  if (!(number >= 0)) {
    throw Napi::RangeError::New(env_, std::string(name) + " must be 0 ms or more");
  }
  return number;
}

bool Arguments::Boolean(size_t index, const char* name) const {
  bool flag;
  if (napi_get_value_bool(env_, info_[index], &flag) != napi_ok) {
    throw Napi::TypeError::New(env_, std::string(name) + " must be a boolean");
  }
  return flag;
}

std::string Arguments::Path(size_t index, const char* name) const {
  Napi::Value value = info_[index];
  if (!value.IsString()) {
    throw Napi::TypeError::New(env_, std::string(name) + " must be a string");
  }
  std::string path = value.As<Napi::String>().Utf8Value();
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw Napi::RangeError::New(env_, std::string(name) + " must be a path: not empty, no NUL");
  }
  return path;
}

Napi::Uint32Array Arguments::Words(size_t index, const char* name) const {
  Napi::Value value = info_[index];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    throw Napi::TypeError::New(env_, std::string(name) + " must be a Uint32Array");
  }
  return value.As<Napi::Uint32Array>();
}

}  // namespace mmapdb
