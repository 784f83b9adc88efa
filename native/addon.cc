// The addon's exports: Region, LockFile, allocate, fileId, takeAfter. Facilities only; what they are used for is
// decided in TypeScript.
#include <napi.h>

#include <climits>

#include "allocate.h"
#include "errors.h"
#include "file_id.h"
#include "locks.h"
#include "region.h"
#include "take_after.h"

namespace mmapdb {

namespace {

// allocate(fd, sizeBytes)
void AllocateFile(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const int fd = static_cast<int>(arguments.Integer(0, "fd", 0, INT_MAX));
  const int64_t sizeBytes = arguments.Integer(1, "sizeBytes");
  AtBorder(info.Env(), [&] { Allocate(fd, sizeBytes); });
}

// fileId(path)
Napi::Value IdOfFile(const Napi::CallbackInfo& info) {
  const std::string path = Arguments(info).Path(0, "path");
  const uint64_t id = AtBorder(info.Env(), [&] { return FileId(path); });
  return Napi::Number::New(info.Env(), static_cast<double>(id));
}

// takeAfter(fd, path)
void TakeAfterFile(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const int fd = static_cast<int>(arguments.Integer(0, "fd", 0, INT_MAX));
  const std::string path = arguments.Path(1, "path");
  AtBorder(info.Env(), [&] { TakeAfter(fd, path); });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Region", Region::Define(env));
  exports.Set("LockFile", LockFile::Define(env));
  exports.Set("allocate", Napi::Function::New<AllocateFile>(env, "allocate"));
  exports.Set("fileId", Napi::Function::New<IdOfFile>(env, "fileId"));
  exports.Set("takeAfter", Napi::Function::New<TakeAfterFile>(env, "takeAfter"));
  return exports;
}

}  // namespace

NODE_API_MODULE(mmapdb_native, Init)

}  // namespace mmapdb
