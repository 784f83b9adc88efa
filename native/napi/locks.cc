#include "locks.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>

#include "errors.h"
#include "file_id_value.h"

namespace mmapdb {

namespace {

constexpr uint32_t kBrand = 0x4c4f434b;

// Lock bytes lie far beyond any data a file can hold.
constexpr int64_t kFirstLockByte = int64_t{1} << 62;

// OFD locks have no timed wait: try again at once a few times, then less and less often.
constexpr int kYields = 50;
constexpr long kFirstPauseNs = 20'000;
constexpr long kLastPauseNs = 2'000'000;

struct flock Describe(int64_t byte, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = kFirstLockByte + byte;
  lock.l_len = 1;
  return lock;
}

short TypeOf(bool exclusive) { return exclusive ? F_WRLCK : F_RDLCK; }

int Fcntl(int fd, int command, struct flock* lock) {
  int result;
  do {
    result = fcntl(fd, command, lock);
  } while (result != 0 && errno == EINTR);
  return result;
}

int OpenRetrying(const char* path, int flags) {
  int fd;
  do {
    fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

Napi::Function LockFile::Define(Napi::Env env) {
  return DefineClass(env, "LockFile",
                     {
                         InstanceMethod<&LockFile::TryLock>("tryLock"),
                         InstanceMethod<&LockFile::Lock>("lock"),
                         InstanceMethod<&LockFile::IsHeldByOther>("isHeldByOther"),
                         InstanceMethod<&LockFile::HeldByOther>("heldByOther"),
                         InstanceMethod<&LockFile::Unlock>("unlock"),
                         InstanceMethod<&LockFile::Identity>("identity"),
                         InstanceMethod<&LockFile::Close>("close"),
                     });
}

LockFile::LockFile(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<LockFile>(info), brand_(kBrand), env_(info.Env()) {
  AtBorder(info.Env(), [&] {
    const std::string path = Arguments(info).Path(0, "path");
    int fd = OpenRetrying(path.c_str(), O_RDWR);
    if (fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM)) {
      readOnlyReason_ = errno;
      fd = OpenRetrying(path.c_str(), O_RDONLY);
    }
    if (fd < 0) throw SystemError(errno, "open");
    file_ = Descriptor(fd);
    struct stat status;
    if (fstat(fd, &status) != 0) throw SystemError(errno, "fstat");
    if (!S_ISREG(status.st_mode)) throw SystemError(ENODEV, "open");
    if (napi_add_env_cleanup_hook(env_, OnEnvironmentExit, this) != napi_ok) {
      throw SystemError(ENOMEM, "open");
    }
    hooked_ = true;
  });
}

LockFile::~LockFile() { Release(); }

void LockFile::OnEnvironmentExit(void* self) {
  LockFile* locks = static_cast<LockFile*>(self);
  locks->hooked_ = false;
  locks->Drop();
}

void LockFile::Drop() {
  if (!file_.open()) return;
  // Closing alone would do, except for a child process that was forked and has not yet reached its
  // exec: it still has a copy of the descriptor. An error does not matter: closing follows.
  struct flock all = Describe(0, F_UNLCK);
  all.l_len = 0;
  Fcntl(file_.get(), F_OFD_SETLK, &all);
  file_.Reset();
}

void LockFile::Release() {
  Drop();
  if (hooked_) {
    hooked_ = false;
    napi_remove_env_cleanup_hook(env_, OnEnvironmentExit, this);
  }
}

void LockFile::Check(Napi::Env env, const char* method) const {
  if (brand_ != kBrand) throw Napi::TypeError::New(env, "not a LockFile");
  if (!file_.open()) ThrowSystemError(env, EBADF, method);
}

bool LockFile::TryLock(int64_t byte, bool exclusive) const {
  if (exclusive && readOnlyReason_ != 0) throw SystemError(readOnlyReason_, "fcntl");
  struct flock lock = Describe(byte, TypeOf(exclusive));
  if (Fcntl(file_.get(), F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  throw SystemError(errno, "fcntl");
}

Napi::Value LockFile::TryLock(const Napi::CallbackInfo& info) {
  Check(info.Env(), "tryLock");
  const Arguments arguments(info);
  const int64_t byte = arguments.Integer(0, "byte");
  const bool exclusive = arguments.Boolean(1, "exclusive");
  const bool had = AtBorder(info.Env(), [&] { return TryLock(byte, exclusive); });
  return Napi::Boolean::New(info.Env(), had);
}

Napi::Value LockFile::Lock(const Napi::CallbackInfo& info) {
  Check(info.Env(), "lock");
  const Arguments arguments(info);
  const int64_t byte = arguments.Integer(0, "byte");
  const bool exclusive = arguments.Boolean(1, "exclusive");
  const double timeoutMs = arguments.Milliseconds(2, "timeoutMs");
  const bool had = AtBorder(info.Env(), [&] {
    if (TryLock(byte, exclusive)) return true;
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    long pauseNs = kFirstPauseNs;
    for (int round = 0;; round++) {
      const double leftMs = timeoutMs - std::chrono::duration<double, std::milli>(Clock::now() - start).count();
      if (leftMs <= 0) return false;
      if (round < kYields) {
        sched_yield();
      } else {
        const double leftNs = std::min(leftMs * 1e6, static_cast<double>(kLastPauseNs));
        const timespec pause = {0, std::max(1L, std::min(pauseNs, static_cast<long>(leftNs)))};
        nanosleep(&pause, nullptr);
        pauseNs = std::min(pauseNs * 2, kLastPauseNs);
      }
      if (TryLock(byte, exclusive)) return true;
    }
  });
  return Napi::Boolean::New(info.Env(), had);
}

Napi::Value LockFile::IsHeldByOther(const Napi::CallbackInfo& info) {
  Check(info.Env(), "isHeldByOther");
  const Arguments arguments(info);
  const int64_t byte = arguments.Integer(0, "byte");
  const bool exclusive = arguments.Boolean(1, "exclusive");
  struct flock lock = Describe(byte, TypeOf(exclusive));
  if (Fcntl(file_.get(), F_OFD_GETLK, &lock) != 0) ThrowSystemError(info.Env(), errno, "fcntl");
  return Napi::Boolean::New(info.Env(), lock.l_type != F_UNLCK);
}

Napi::Value LockFile::HeldByOther(const Napi::CallbackInfo& info) {
  Check(info.Env(), "heldByOther");
  const Arguments arguments(info);
  const int64_t from = arguments.Integer(0, "from");
  const int64_t to = arguments.Integer(1, "to", static_cast<double>(from));
  if (from == to) return Napi::Number::New(info.Env(), -1);
  struct flock lock = Describe(from, F_WRLCK);
  lock.l_len = to - from;
  if (Fcntl(file_.get(), F_OFD_GETLK, &lock) != 0) ThrowSystemError(info.Env(), errno, "fcntl");
  const bool found = lock.l_type != F_UNLCK;
  const int64_t byte = std::max<int64_t>(lock.l_start - kFirstLockByte, from);
  return Napi::Number::New(info.Env(), found ? static_cast<double>(byte) : -1);
}

void LockFile::Unlock(const Napi::CallbackInfo& info) {
  Check(info.Env(), "unlock");
  struct flock lock = Describe(Arguments(info).Integer(0, "byte"), F_UNLCK);
  if (Fcntl(file_.get(), F_OFD_SETLK, &lock) != 0) ThrowSystemError(info.Env(), errno, "fcntl");
}

Napi::Value LockFile::Identity(const Napi::CallbackInfo& info) {
  Check(info.Env(), "identity");
  return ToArray(info.Env(), AtBorder(info.Env(), [&] { return IdentityOf(file_.get()); }));
}

void LockFile::Close(const Napi::CallbackInfo& info) {
  if (brand_ != kBrand) throw Napi::TypeError::New(info.Env(), "not a LockFile");
  Release();
}

}  // namespace mmapdb
