#include "window_buffer.h"

#include <v8.h>

#include <cstring>
#include <memory>

namespace mmapdb {

napi_value MakeWindowBuffer(void* data, size_t lengthBytes) {
  std::shared_ptr<v8::BackingStore> memory =
      v8::ArrayBuffer::NewBackingStore(data, lengthBytes, v8::BackingStore::EmptyDeleter, nullptr);
  const v8::Local<v8::ArrayBuffer> buffer = v8::ArrayBuffer::New(v8::Isolate::GetCurrent(), std::move(memory));
  // A napi_value is a handle of V8 under another name.
  napi_value value;
  static_assert(sizeof value == sizeof buffer);
  std::memcpy(static_cast<void*>(&value), static_cast<const void*>(&buffer), sizeof value);
  return value;
}

}  // namespace mmapdb
