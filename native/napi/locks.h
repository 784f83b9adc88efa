// Byte-range locks bound to an open file description of their own (F_OFD_SETLK).
//
// They exclude other LockFiles in this thread, in other threads and in other processes alike; the
// kernel releases them when the description is closed, and so when the process dies. A thread that
// ends closes it through an environment cleanup hook, even if it is terminated.
#pragma once

#include <napi.h>

#include "../core/descriptor.h"

namespace mmapdb {

class LockFile : public Napi::ObjectWrap<LockFile> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new LockFile(path): the file must exist. Where it can only be read, shared locks still work.
  explicit LockFile(const Napi::CallbackInfo& info);
  ~LockFile() override;

 private:
  // tryLock(byte, exclusive): boolean
  Napi::Value TryLock(const Napi::CallbackInfo& info);
  // lock(byte, exclusive, timeoutMs): boolean
  Napi::Value Lock(const Napi::CallbackInfo& info);
  // isHeldByOther(byte, exclusive): boolean
  Napi::Value IsHeldByOther(const Napi::CallbackInfo& info);
  // heldByOther(from, to): the first byte of a lock that another holds on bytes in [from, to), or -1.
  // If there are several, any one of them.
  Napi::Value HeldByOther(const Napi::CallbackInfo& info);
  // unlock(byte)
  void Unlock(const Napi::CallbackInfo& info);
  // identity(): [device, inode]
  Napi::Value Identity(const Napi::CallbackInfo& info);
  // close()
  void Close(const Napi::CallbackInfo& info);

  static void OnEnvironmentExit(void* self);
  // Releases every lock and the descriptor.
  void Drop();
  // Drop, and removes the cleanup hook.
  void Release();
  // Throws unless `this` is really a LockFile, and open.
  void Check(Napi::Env env, const char* method) const;
  bool TryLock(int64_t byte, bool exclusive) const;

  const uint32_t brand_;
  napi_env env_;
  Descriptor file_;
  // Why the file could not be opened for writing, which exclusive locks need; 0 if it could.
  int readOnlyReason_ = 0;
  bool hooked_ = false;
};

}  // namespace mmapdb
