// A directory held open, so that what is in it can be reached even if its name now leads elsewhere.
//
// It is open once in the process, whichever threads hold it. The last thread to release it closes
// it. So a descriptor is valid in all threads for as long as one of them holds the directory, and no
// other file can get its inode. A thread that ends releases it through an environment cleanup hook.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/descriptor.h"
#include "../core/file_id.h"

namespace mmapdb {

class Directory : public Napi::ObjectWrap<Directory> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new Directory(path): opens it (O_PATH: a user who may pass through it may hold it).
  // new Directory('', device, inode): joins the threads of this process that hold it; ENOENT if no thread does.
  explicit Directory(const Napi::CallbackInfo& info);
  ~Directory() override;

 private:
  struct Held {
    Descriptor descriptor;
    FileIdentity identity;
  };
  struct Registry;
  static Registry& TheRegistry();

  Napi::Value Fd(const Napi::CallbackInfo& info);        // (): number
  Napi::Value Identity(const Napi::CallbackInfo& info);  // (): [device, inode]
  void Close(const Napi::CallbackInfo& info);            // ()

  static void OnEnvironmentExit(void* self);
  void Release();
  // Throws unless `this` is really a Directory, and open.
  void Check(Napi::Env env, const char* method) const;

  const uint32_t brand_;
  napi_env env_;
  std::shared_ptr<Held> held_;
  bool hooked_ = false;
};

}  // namespace mmapdb
