// The view that one environment has of a Mapping: ArrayBuffers over it, and its other operations.
//
// Every ArrayBuffer handed out holds a reference to the mapping. close() detaches them all, so
// typed arrays over them become empty and the memory can be unmapped at once. A buffer that cannot be
// detached keeps the mapping until it is collected, and one that has been transferred keeps it for good.
#pragma once

#include <napi.h>

#include <memory>
#include <unordered_map>

#include "errors.h"
#include "../core/mapping.h"
#include "../core/later_flush.h"
#include "loop_call.h"

namespace mmapdb {

class Region : public Napi::ObjectWrap<Region> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new Region(mode, path, windowBytes, create, readOnly)
  // mode 0: shared, 1: private, 2: anonymous (path ''). A store into a read-only region kills the
  // process with SIGSEGV.
  explicit Region(const Napi::CallbackInfo& info);
  ~Region() override;

 private:
  // The mapping, as one ArrayBuffer holds it.
  struct Share {
    std::shared_ptr<Mapping> mapping;
  };
  struct Buffer {
    napi_ref reference = nullptr;
    // Belongs to the finalizer of the buffer, which runs after the last use of this.
    Share* share = nullptr;
  };

  Napi::Value SizeBytes(const Napi::CallbackInfo& info);
  Napi::Value Identity(const Napi::CallbackInfo& info);     // (): [device, inode]; EBADF if anonymous
  Napi::Value Window(const Napi::CallbackInfo& info);       // (index): ArrayBuffer, the same each time
  Napi::Value FaultWords(const Napi::CallbackInfo& info);   // (): 4-byte ArrayBuffer, the live count
  void Grow(const Napi::CallbackInfo& info);                // (sizeBytes)
  void Truncate(const Napi::CallbackInfo& info);            // (sizeBytes)
  void Flush(const Napi::CallbackInfo& info);               // ()
  void ReadRandomly(const Napi::CallbackInfo& info);        // ()
  void WillNeed(const Napi::CallbackInfo& info);            // (pages: Uint32Array)
  Napi::Value AreInMemory(const Napi::CallbackInfo& info);  // (pages: Uint32Array): boolean
  void WillOverwrite(const Napi::CallbackInfo& info);       // (page)
  Napi::Value Wait(const Napi::CallbackInfo& info);         // (offset, expected, timeoutMs): 0, 1 or 2
  Napi::Value Wake(const Napi::CallbackInfo& info);         // (offset, count): how many woke up
  Napi::Value StartWatch(const Napi::CallbackInfo& info);   // watch(offset, onChange): its number
  void EndWatch(const Napi::CallbackInfo& info);            // unwatch(number)
  void StartFlusher(const Napi::CallbackInfo& info);        // (onDone)
  void FlushLater(const Napi::CallbackInfo& info);          // (offset, value, fd)
  void Close(const Napi::CallbackInfo& info);               // ()

  static void OnEnvironmentExit(void* self);
  // Throws unless `this` is really a Region, and open.
  void Check(Napi::Env env, const char* method) const;
  napi_value MakeBuffer(Napi::Env env, void* data, size_t lengthBytes, Buffer* into);
  void ReleaseBuffer(Buffer* buffer);
  uint32_t* Word(const Arguments& arguments, Napi::Env env);

  const uint32_t brand_;
  napi_env env_;
  std::shared_ptr<Mapping> mapping_;
  int64_t windowBytes_ = 0;
  std::unordered_map<int64_t, Buffer> windows_;
  Buffer faultWords_;
  std::unordered_map<uint32_t, std::unique_ptr<LoopCall>> watches_;
  uint32_t lastWatch_ = 0;
  std::unique_ptr<LoopCall> flusher_;
  // Belongs to the flusher.
  LaterFlush* flush_ = nullptr;
  bool hooked_ = false;
};

}  // namespace mmapdb
