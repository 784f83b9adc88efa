// A FileIdentity as JavaScript has it: [device, inode].
#pragma once

#include <napi.h>

#include "../core/file_id.h"

namespace mmapdb {

inline Napi::Value ToArray(Napi::Env env, const FileIdentity& identity) {
  Napi::Array numbers = Napi::Array::New(env, 2);
  numbers.Set(0u, Napi::Number::New(env, identity.device));
  numbers.Set(1u, Napi::Number::New(env, identity.inode));
  return numbers;
}

}  // namespace mmapdb
