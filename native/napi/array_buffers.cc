#include "array_buffers.h"

#include <v8.h>

#include <cstring>
#include <memory>

namespace mmapdb {

namespace {

// A napi_value is a handle of V8 under another name.
static_assert(sizeof(napi_value) == sizeof(v8::Local<v8::ArrayBuffer>));

napi_value ToValue(const v8::Local<v8::ArrayBuffer>& buffer) {
  napi_value value;
  std::memcpy(static_cast<void*>(&value), static_cast<const void*>(&buffer), sizeof value);
  return value;
}

v8::Local<v8::ArrayBuffer> FromValue(napi_value value) {
  v8::Local<v8::ArrayBuffer> buffer;
  std::memcpy(static_cast<void*>(&buffer), static_cast<const void*>(&value), sizeof value);
  return buffer;
}

}  // namespace

napi_value MakeWindowBuffer(void* data, size_t lengthBytes) {
  std::shared_ptr<v8::BackingStore> memory =
      v8::ArrayBuffer::NewBackingStore(data, lengthBytes, v8::BackingStore::EmptyDeleter, nullptr);
  return ToValue(v8::ArrayBuffer::New(v8::Isolate::GetCurrent(), std::move(memory)));
}

napi_value TransferBuffer(napi_value value) {
  const v8::Local<v8::ArrayBuffer> buffer = FromValue(value);
  if (!buffer->IsDetachable()) return nullptr;
  std::shared_ptr<v8::BackingStore> memory = buffer->GetBackingStore();
  if (buffer->Detach(v8::Local<v8::Value>()).IsNothing()) return nullptr;
  return ToValue(v8::ArrayBuffer::New(v8::Isolate::GetCurrent(), std::move(memory)));
}

}  // namespace mmapdb
