#include "directory.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "file_id_value.h"

namespace mmapdb {

namespace {

constexpr uint32_t kBrand = 0x44495245;

Descriptor Open(const std::string& path) {
  int fd;
  do {
    fd = open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw SystemError(errno, "open");
  return Descriptor(fd);
}

}  // namespace

struct Directory::Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<Held>> held;
};

// Never destroyed: worker threads may outlive the static destructors of the process.
Directory::Registry& Directory::TheRegistry() {
  static Registry* registry = new Registry;
  return *registry;
}

Napi::Function Directory::Define(Napi::Env env) {
  return DefineClass(env, "Directory",
                     {
                         InstanceMethod<&Directory::Fd>("fd"),
                         InstanceMethod<&Directory::Identity>("identity"),
                         InstanceMethod<&Directory::Close>("close"),
                     });
}

Directory::Directory(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Directory>(info), brand_(kBrand), env_(info.Env()) {
  AtBorder(info.Env(), [&] {
    const Arguments arguments(info);
    const bool isJoining = info.Length() > 1;
    Held opened;
    if (isJoining) {
      opened.identity = {arguments.Number(1, "device"), arguments.Number(2, "inode")};
    } else {
      opened.descriptor = Open(arguments.Path(0, "path"));
      opened.identity = IdentityOf(opened.descriptor.get());
    }
    Registry& registry = TheRegistry();
    std::lock_guard<std::mutex> guard(registry.mutex);
    auto& all = registry.held;
    all.erase(std::remove_if(all.begin(), all.end(), [](const auto& held) { return held.expired(); }), all.end());
    for (const auto& candidate : all) {
      std::shared_ptr<Held> held = candidate.lock();
      if (held && held->identity == opened.identity) held_ = std::move(held);
    }
    if (!held_) {
      if (isJoining) throw SystemError(ENOENT, "open");
      held_ = std::make_shared<Held>(std::move(opened));
      all.push_back(held_);
    }
    if (napi_add_env_cleanup_hook(env_, OnEnvironmentExit, this) != napi_ok) {
      throw SystemError(ENOMEM, "open");
    }
    hooked_ = true;
  });
}

Directory::~Directory() { Release(); }

void Directory::OnEnvironmentExit(void* self) {
  Directory* directory = static_cast<Directory*>(self);
  directory->hooked_ = false;
  directory->held_.reset();
}

void Directory::Release() {
  held_.reset();
  if (hooked_) {
    hooked_ = false;
    napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  }
}

void Directory::Check(Napi::Env env, const char* method) const {
  if (brand_ != kBrand) throw Napi::TypeError::New(env, "not a Directory");
  if (!held_) ThrowSystemError(env, EBADF, method);
}

Napi::Value Directory::Fd(const Napi::CallbackInfo& info) {
  Check(info.Env(), "fd");
  return Napi::Number::New(info.Env(), held_->descriptor.get());
}

Napi::Value Directory::Identity(const Napi::CallbackInfo& info) {
  Check(info.Env(), "identity");
  return ToArray(info.Env(), held_->identity);
}

void Directory::Close(const Napi::CallbackInfo& info) {
  if (brand_ != kBrand) throw Napi::TypeError::New(info.Env(), "not a Directory");
  Release();
}

}  // namespace mmapdb
