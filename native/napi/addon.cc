// The addon's exports: Region, LockFile, Directory, allocate, identify, leadsTo, takeAfter, detach, transfer,
// crc32c.
// Facilities only; what they are used for is decided in TypeScript.
#include <fcntl.h>
#include <napi.h>

#include <climits>

#include "../core/allocate.h"
#include "../core/crc32c.h"
#include "array_buffers.h"
#include "directory.h"
#include "errors.h"
#include "../core/file_id.h"
#include "file_id_value.h"
#include "locks.h"
#include "region.h"
#include "../core/take_after.h"

namespace mmapdb {

namespace {

// allocate(fd, sizeBytes)
void AllocateFile(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const int fd = static_cast<int>(arguments.Integer(0, "fd", 0, INT_MAX));
  const int64_t sizeBytes = arguments.Integer(1, "sizeBytes");
  AtBorder(info.Env(), [&] { Allocate(fd, sizeBytes); });
}

// identify(fd)
Napi::Value Identify(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(Arguments(info).Integer(0, "fd", 0, INT_MAX));
  return ToArray(info.Env(), AtBorder(info.Env(), [&] { return IdentityOf(fd); }));
}

// leadsTo(directory, path, device, inode)
Napi::Value PathLeadsTo(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const int directory = static_cast<int>(arguments.Integer(0, "directory", AT_FDCWD, INT_MAX));
  const std::string path = arguments.Path(1, "path");
  const FileIdentity file = {arguments.Number(2, "device"), arguments.Number(3, "inode")};
  const bool leads = AtBorder(info.Env(), [&] { return LeadsTo(directory, path, file); });
  return Napi::Boolean::New(info.Env(), leads);
}

// takeAfter(fd, path)
void TakeAfterFile(const Napi::CallbackInfo& info) {
  const Arguments arguments(info);
  const int fd = static_cast<int>(arguments.Integer(0, "fd", 0, INT_MAX));
  const std::string path = arguments.Path(1, "path");
  AtBorder(info.Env(), [&] { TakeAfter(fd, path); });
}

// crc32c(bytes[, initial]). In plain Node-API: it is called for every frame and every slot.
napi_value CrcOf(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t count = 2;
  void* data;
  size_t lengthBytes;
  uint32_t initial = 0;
  if (napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr) != napi_ok) return nullptr;
  const bool right = count > 0 && napi_get_buffer_info(env, arguments[0], &data, &lengthBytes) == napi_ok &&
                     (count < 2 || napi_get_value_uint32(env, arguments[1], &initial) == napi_ok);
  if (!right) {
    napi_throw_type_error(env, nullptr, "crc32c takes a Uint8Array and a number");
    return nullptr;
  }
  napi_value crc = nullptr;
  napi_create_uint32(env, Crc32c(initial, static_cast<const uint8_t*>(data), lengthBytes), &crc);
  return crc;
}

// detach(buffer). In plain Node-API: it is called for every long value.
napi_value Detach(napi_env env, napi_callback_info info) {
  napi_value buffer;
  size_t count = 1;
  if (napi_get_cb_info(env, info, &count, &buffer, nullptr, nullptr) != napi_ok) return nullptr;
  if (napi_detach_arraybuffer(env, buffer) != napi_ok) {
    napi_throw_type_error(env, nullptr, "detach takes an ArrayBuffer that can be detached");
  }
  return nullptr;
}

// transfer(buffer)
napi_value Transfer(napi_env env, napi_callback_info info) {
  napi_value buffer;
  size_t count = 1;
  bool right = false;
  if (napi_get_cb_info(env, info, &count, &buffer, nullptr, nullptr) != napi_ok) return nullptr;
  napi_value transferred = nullptr;
  if (napi_is_arraybuffer(env, buffer, &right) == napi_ok && right) transferred = TransferBuffer(buffer);
  if (transferred == nullptr) {
    napi_throw_type_error(env, nullptr, "transfer takes an ArrayBuffer that can be detached");
  }
  return transferred;
}

// Functions in plain Node-API, for what is called often.
void AddFunction(Napi::Env env, Napi::Object exports, const char* name, napi_callback function) {
  napi_value value;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value) == napi_ok) {
    exports.Set(name, Napi::Value(env, value));
  }
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Region", Region::Define(env));
  exports.Set("LockFile", LockFile::Define(env));
  exports.Set("Directory", Directory::Define(env));
  exports.Set("allocate", Napi::Function::New<AllocateFile>(env, "allocate"));
  exports.Set("identify", Napi::Function::New<Identify>(env, "identify"));
  exports.Set("leadsTo", Napi::Function::New<PathLeadsTo>(env, "leadsTo"));
  exports.Set("takeAfter", Napi::Function::New<TakeAfterFile>(env, "takeAfter"));
  AddFunction(env, exports, "detach", Detach);
  AddFunction(env, exports, "transfer", Transfer);
  if (HasCrc32c()) AddFunction(env, exports, "crc32c", CrcOf);
  return exports;
}

}  // namespace

NODE_API_MODULE(mmapdb_native, Init)

}  // namespace mmapdb
