#include "region.h"

#include <cerrno>
#include <climits>
#include <vector>

#include "array_buffers.h"
#include "file_id_value.h"
#include "../core/futex.h"
#include "../core/word_watch.h"

namespace mmapdb {

namespace {

constexpr uint32_t kBrand = 0x52474e53;
// The unit of windows, whatever the page size of the machine.
constexpr int64_t kWindowUnitBytes = 4096;
// More than any file of 2^32 slots has, and still an offset that mmap(2) takes.
constexpr double kMaxBytes = 70368744177664.0;

}  // namespace

Napi::Function Region::Define(Napi::Env env) {
  return DefineClass(env, "Region",
                     {
                         InstanceMethod<&Region::SizeBytes>("sizeBytes"),
                         InstanceMethod<&Region::Identity>("identity"),
                         InstanceMethod<&Region::Window>("window"),
                         InstanceMethod<&Region::FaultWords>("faultWords"),
                         InstanceMethod<&Region::Grow>("grow"),
                         InstanceMethod<&Region::Truncate>("truncate"),
                         InstanceMethod<&Region::Flush>("flush"),
                         InstanceMethod<&Region::ReadRandomly>("readRandomly"),
                         InstanceMethod<&Region::WillNeed>("willNeed"),
                         InstanceMethod<&Region::AreInMemory>("areInMemory"),
                         InstanceMethod<&Region::WillOverwrite>("willOverwrite"),
                         InstanceMethod<&Region::Wait>("wait"),
                         InstanceMethod<&Region::Wake>("wake"),
                         InstanceMethod<&Region::StartWatch>("watch"),
                         InstanceMethod<&Region::EndWatch>("unwatch"),
                         InstanceMethod<&Region::StartFlusher>("startFlusher"),
                         InstanceMethod<&Region::FlushLater>("flushLater"),
                         InstanceMethod<&Region::Close>("close"),
                     });
}

Region::Region(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Region>(info), brand_(kBrand), env_(info.Env()) {
  AtBorder(info.Env(), [&] {
    const Arguments arguments(info);
    const auto mode = static_cast<MappingMode>(arguments.Integer(0, "mode", 0, 3));
    const std::string path = mode == MappingMode::kAnonymous ? std::string() : arguments.Path(1, "path");
    windowBytes_ = arguments.Integer(2, "windowBytes", kWindowUnitBytes, kMaxBytes);
    const bool create = arguments.Boolean(3, "create");
    const bool readOnly = arguments.Boolean(4, "readOnly");
    if (windowBytes_ % kWindowUnitBytes != 0) {
      throw OutOfRange("windowBytes must be a multiple of 4096");
    }
    if (create && mode != MappingMode::kShared && mode != MappingMode::kProcess) {
      throw OutOfRange("only a region that is shared can be created");
    }
    mapping_ = Mapping::Open(mode, path, windowBytes_, create, readOnly);
    // All that a small file needs: if there is no address space for it, opening fails, not a later call.
    mapping_->Window(0);
    if (napi_add_env_cleanup_hook(env_, OnEnvironmentExit, this) != napi_ok) {
      throw SystemError(ENOMEM, "mmap");
    }
    hooked_ = true;
  });
}

// Collected without close(), or its environment is ending. Buffers may still be in use: each keeps
// its own share of the mapping, and only the references to them are dropped.
Region::~Region() {
  for (auto& [index, window] : windows_) {
    if (window.reference != nullptr) napi_delete_reference(env_, window.reference);
  }
  if (faultWords_.reference != nullptr) napi_delete_reference(env_, faultWords_.reference);
  if (hooked_) napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
}

void Region::OnEnvironmentExit(void* self) {
  Region* region = static_cast<Region*>(self);
  region->hooked_ = false;
  region->mapping_.reset();
}

void Region::Check(Napi::Env env, const char* method) const {
  if (brand_ != kBrand) throw Napi::TypeError::New(env, "not a Region");
  if (!mapping_) ThrowSystemError(env, EBADF, method);
}

napi_value Region::MakeBuffer(Napi::Env env, void* data, size_t lengthBytes, Buffer* into) {
  auto share = std::make_unique<Share>(Share{mapping_});
  const napi_value buffer = MakeWindowBuffer(data, lengthBytes);
  if (napi_add_finalizer(
          env, buffer, share.get(), [](napi_env, void* share, void*) { delete static_cast<Share*>(share); }, nullptr,
          nullptr) != napi_ok) {
    throw Napi::Error::New(env, "out of memory");
  }
  into->share = share.release();
  if (napi_create_reference(env, buffer, 1, &into->reference) != napi_ok) {
    into->reference = nullptr;
    throw Napi::Error::New(env, "out of memory");
  }
  return buffer;
}

void Region::ReleaseBuffer(Buffer* buffer) {
  if (buffer->reference == nullptr) return;
  napi_value value = nullptr;
  bool detached = true;
  if (napi_get_reference_value(env_, buffer->reference, &value) == napi_ok && value != nullptr &&
      napi_is_detached_arraybuffer(env_, value, &detached) == napi_ok) {
    if (detached) {
      // It was transferred: its memory is in use under another name, of which nobody here hears any more.
      new Share(*buffer->share);
    } else if (napi_detach_arraybuffer(env_, value) == napi_ok) {
      buffer->share->mapping.reset();
    }
  }
  napi_delete_reference(env_, buffer->reference);
  *buffer = Buffer();
}

Napi::Value Region::SizeBytes(const Napi::CallbackInfo& info) {
  Check(info.Env(), "sizeBytes");
  const int64_t bytes = AtBorder(info.Env(), [&] { return mapping_->SizeBytes(); });
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

Napi::Value Region::Identity(const Napi::CallbackInfo& info) {
  Check(info.Env(), "identity");
  return ToArray(info.Env(), AtBorder(info.Env(), [&] { return mapping_->Identity(); }));
}

Napi::Value Region::Window(const Napi::CallbackInfo& info) {
  Check(info.Env(), "window");
  const double count = kMaxBytes / static_cast<double>(windowBytes_);
  const int64_t index = Arguments(info).Integer(0, "index", 0, count - 1);
  napi_value buffer;
  const auto found = windows_.find(index);
  if (found == windows_.end()) {
    char* base = AtBorder(info.Env(), [&] { return mapping_->Window(index); });
    Buffer window;
    buffer = MakeBuffer(info.Env(), base, static_cast<size_t>(windowBytes_), &window);
    windows_[index] = window;
  } else if (napi_get_reference_value(env_, found->second.reference, &buffer) != napi_ok) {
    throw Napi::Error::New(info.Env(), "window is lost");
  }
  return Napi::Value(info.Env(), buffer);
}

Napi::Value Region::FaultWords(const Napi::CallbackInfo& info) {
  Check(info.Env(), "faultWords");
  napi_value buffer;
  if (faultWords_.reference == nullptr) {
    buffer = MakeBuffer(info.Env(), mapping_->faultCount(), sizeof(int32_t), &faultWords_);
  } else if (napi_get_reference_value(env_, faultWords_.reference, &buffer) != napi_ok) {
    throw Napi::Error::New(info.Env(), "fault words are lost");
  }
  return Napi::Value(info.Env(), buffer);
}

void Region::Grow(const Napi::CallbackInfo& info) {
  Check(info.Env(), "grow");
  const int64_t sizeBytes = Arguments(info).Integer(0, "sizeBytes", 0, kMaxBytes);
  AtBorder(info.Env(), [&] { mapping_->Grow(sizeBytes); });
}

void Region::Truncate(const Napi::CallbackInfo& info) {
  Check(info.Env(), "truncate");
  const int64_t sizeBytes = Arguments(info).Integer(0, "sizeBytes", 0, kMaxBytes);
  AtBorder(info.Env(), [&] { mapping_->Truncate(sizeBytes); });
}

void Region::Flush(const Napi::CallbackInfo& info) {
  Check(info.Env(), "flush");
  AtBorder(info.Env(), [&] { mapping_->Flush(); });
}

void Region::ReadRandomly(const Napi::CallbackInfo& info) {
  Check(info.Env(), "madvise");
  AtBorder(info.Env(), [&] { mapping_->ReadRandomly(); });
}

void Region::WillNeed(const Napi::CallbackInfo& info) {
  Check(info.Env(), "willNeed");
  const Napi::Uint32Array list = Arguments(info).Words(0, "pages");
  AtBorder(info.Env(), [&] {
    std::vector<uint32_t> pages(list.Data(), list.Data() + list.ElementLength());
    mapping_->WillNeed(&pages);
  });
}

Napi::Value Region::AreInMemory(const Napi::CallbackInfo& info) {
  Check(info.Env(), "areInMemory");
  const Napi::Uint32Array list = Arguments(info).Words(0, "pages");
  return AtBorder(info.Env(), [&] {
    return Napi::Boolean::New(info.Env(), mapping_->AreInMemory(list.Data(), list.ElementLength()));
  });
}

void Region::WillOverwrite(const Napi::CallbackInfo& info) {
  Check(info.Env(), "willOverwrite");
  const int64_t page = Arguments(info).Integer(0, "page", 0, UINT32_MAX);
  AtBorder(info.Env(), [&] { mapping_->WillOverwrite(static_cast<uint32_t>(page)); });
}

uint32_t* Region::Word(const Arguments& arguments, Napi::Env env) {
  const int64_t offset = arguments.Integer(0, "offset", 0, kMaxBytes - 4);
  if (offset % 4 != 0) throw Napi::RangeError::New(env, "offset must be a multiple of 4");
  return AtBorder(env, [&] {
    if (!mapping_->Contains(offset, 4)) throw OutOfRange("offset lies beyond the end of the file");
    char* window = mapping_->Window(offset / windowBytes_);
    return reinterpret_cast<uint32_t*>(window + offset % windowBytes_);
  });
}

Napi::Value Region::Wait(const Napi::CallbackInfo& info) {
  Check(info.Env(), "wait");
  const Arguments arguments(info);
  uint32_t* word = Word(arguments, info.Env());
  // The value as an Int32Array or a Uint32Array reads it.
  const int64_t expected = arguments.Integer(1, "expected", INT32_MIN, UINT32_MAX);
  const double timeoutMs = arguments.Milliseconds(2, "timeoutMs");
  const FutexResult result =
      AtBorder(info.Env(), [&] { return FutexWait(word, static_cast<uint32_t>(expected), timeoutMs); });
  return Napi::Number::New(info.Env(), static_cast<int>(result));
}

Napi::Value Region::Wake(const Napi::CallbackInfo& info) {
  Check(info.Env(), "wake");
  const Arguments arguments(info);
  uint32_t* word = Word(arguments, info.Env());
  const int count = static_cast<int>(arguments.Integer(1, "count", 0, INT_MAX));
  return Napi::Number::New(info.Env(), AtBorder(info.Env(), [&] { return FutexWake(word, count); }));
}

Napi::Value Region::StartWatch(const Napi::CallbackInfo& info) {
  Check(info.Env(), "watch");
  const Arguments arguments(info);
  uint32_t* word = Word(arguments, info.Env());
  if (!info[1].IsFunction()) throw Napi::TypeError::New(info.Env(), "onChange must be a function");
  AtBorder(info.Env(), [&] {
    watches_[++lastWatch_] = std::make_unique<LoopCall>(env_, "mmapdb.watch", info[1], [&](LoopCall::Call call) {
      return std::make_shared<WordWatch>(mapping_, word, [call] { call(0); });
    });
  });
  return Napi::Number::New(info.Env(), lastWatch_);
}

void Region::EndWatch(const Napi::CallbackInfo& info) {
  if (brand_ != kBrand) throw Napi::TypeError::New(info.Env(), "not a Region");
  watches_.erase(static_cast<uint32_t>(Arguments(info).Integer(0, "number", 0, UINT32_MAX)));
}

void Region::StartFlusher(const Napi::CallbackInfo& info) {
  Check(info.Env(), "startFlusher");
  if (!info[0].IsFunction()) throw Napi::TypeError::New(info.Env(), "onDone must be a function");
  AtBorder(info.Env(), [&] {
    flusher_ = std::make_unique<LoopCall>(env_, "mmapdb.flush", info[0], [&](LoopCall::Call call) {
      const auto flush = std::make_shared<LaterFlush>(mapping_, call);
      flush_ = flush.get();
      return flush;
    });
  });
}

void Region::FlushLater(const Napi::CallbackInfo& info) {
  Check(info.Env(), "flushLater");
  const Arguments arguments(info);
  uint32_t* failed = Word(arguments, info.Env());
  const auto value = static_cast<uint32_t>(arguments.Integer(1, "value", 0, UINT32_MAX));
  const int fd = static_cast<int>(arguments.Integer(2, "fd", 0, INT_MAX));
  if (!flusher_) throw Napi::Error::New(info.Env(), "startFlusher comes first");
  AtBorder(info.Env(), [&] { flush_->Start(fd, failed, value); });
  flusher_->KeepAlive();
}

void Region::Close(const Napi::CallbackInfo& info) {
  if (brand_ != kBrand) throw Napi::TypeError::New(info.Env(), "not a Region");
  if (!mapping_) return;
  watches_.clear();
  flusher_.reset();
  for (auto& [index, window] : windows_) ReleaseBuffer(&window);
  windows_.clear();
  ReleaseBuffer(&faultWords_);
  mapping_.reset();
  hooked_ = false;
  napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
}

}  // namespace mmapdb
