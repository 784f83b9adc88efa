// The addon's exports: Region, LockFile, allocate. Facilities only; what they are used for is
// decided in TypeScript.
#include <napi.h>

#include <climits>

#include "allocate.h"
#include "errors.h"
#include "locks.h"
#include "region.h"

namespace mmapdb {

namespace {

// allocate(fd, sizeBytes)
void AllocateFile(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const int fd = static_cast<int>(arguments.Integer(0, "fd", 0, INT_MAX));
  const int64_t sizeBytes = arguments.Integer(1, "sizeBytes");
  AtBorder(info.Env(), [&] { Allocate(fd, sizeBytes); });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Region", Region::Define(env));
  exports.Set("LockFile", LockFile::Define(env));
  exports.Set("allocate", Napi::Function::New<AllocateFile>(env, "allocate"));
  return exports;
}

}  // namespace

NODE_API_MODULE(mmapdb_native, Init)

}  // namespace mmapdb
