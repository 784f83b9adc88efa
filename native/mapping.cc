#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <tuple>

#include "allocate.h"
#include "system_error.h"

namespace mmapdb {

namespace {

// Device, inode, read-only. The mapping keeps its file open, so the inode stays its own.
using FileKey = std::tuple<dev_t, ino_t, bool>;

// The unit in which a file is read, whatever the machine's own pages are.
constexpr int64_t kPageBytes = 4096;

struct Registry {
  std::mutex mutex;
  std::map<FileKey, std::weak_ptr<Mapping>> mappings;
};

// Never destroyed: worker threads may outlive the static destructors of the process.
Registry& TheRegistry() {
  static Registry* registry = new Registry;
  return *registry;
}

Descriptor OpenFile(const std::string& path, int flags) {
  // O_NONBLOCK: a FIFO of that name must be refused, not waited for. Files do not heed it.
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw SystemError(errno, "open");
  return Descriptor(fd);
}

FileKey KeyOf(const Descriptor& file, bool readOnly) {
  struct stat status;
  if (fstat(file.get(), &status) != 0) throw SystemError(errno, "fstat");
  if (S_ISDIR(status.st_mode)) throw SystemError(EISDIR, "open");
  if (!S_ISREG(status.st_mode)) throw SystemError(ENODEV, "open");
  return {status.st_dev, status.st_ino, readOnly};
}

int64_t RoundUpToPage(int64_t bytes) {
  const int64_t page = static_cast<int64_t>(PageBytes());
  return (bytes + page - 1) / page * page;
}

}  // namespace

std::shared_ptr<Mapping> Mapping::Open(MappingMode mode, const std::string& path,
                                       size_t reserveBytes, bool create, bool readOnly) {
  if (mode == MappingMode::kAnonymous) {
    return std::shared_ptr<Mapping>(new Mapping(mode, Descriptor(), reserveBytes, readOnly));
  }
  if (mode == MappingMode::kPrivate) {
    Descriptor file = OpenFile(path, O_RDONLY);
    KeyOf(file, readOnly);
    return std::shared_ptr<Mapping>(new Mapping(mode, std::move(file), reserveBytes, readOnly));
  }
  Descriptor file = OpenFile(path, readOnly ? O_RDONLY : O_RDWR | (create ? O_CREAT : 0));
  const FileKey key = KeyOf(file, readOnly);
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.mutex);
  // Entries of mappings that are gone go here, not in the destructor, which so needs no lock.
  for (auto entry = registry.mappings.begin(); entry != registry.mappings.end();) {
    entry = entry->second.expired() ? registry.mappings.erase(entry) : std::next(entry);
  }
  const auto found = registry.mappings.find(key);
  if (found != registry.mappings.end()) {
    std::shared_ptr<Mapping> mapping = found->second.lock();
    // A range never moves, so one that is too short for this user gets a longer one beside it.
    if (mapping && mapping->reserveBytes_ >= reserveBytes) return mapping;
  }
  std::shared_ptr<Mapping> mapping(new Mapping(mode, std::move(file), reserveBytes, readOnly));
  registry.mappings[key] = mapping;
  return mapping;
}

Mapping::Mapping(MappingMode mode, Descriptor file, size_t reserveBytes, bool readOnly)
    : mode_(mode), readOnly_(readOnly), file_(std::move(file)), reserveBytes_(reserveBytes) {
  if (file_.open()) sizeBytes_ = FileSizeBytes(file_.get());
  const int prot = PROT_READ | (readOnly ? 0 : PROT_WRITE);
  const int flags = (mode == MappingMode::kShared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE |
                    (mode == MappingMode::kAnonymous ? MAP_ANONYMOUS : 0);
  void* base = mmap(nullptr, reserveBytes, prot, flags, file_.get(), 0);
  if (base == MAP_FAILED) throw SystemError(errno, "mmap");
  base_ = static_cast<char*>(base);
  try {
    guarded_ = Guard(base, reserveBytes, prot);
  } catch (...) {
    munmap(base, reserveBytes);
    throw;
  }
}

Mapping::~Mapping() {
  Unguard(guarded_);
  munmap(base_, reserveBytes_);
}

int64_t Mapping::SizeBytes() {
  if (mode_ == MappingMode::kShared) sizeBytes_ = FileSizeBytes(file_.get());
  return sizeBytes_;
}

bool Mapping::Contains(int64_t offset, int64_t length) {
  const int64_t end = offset + length;
  return end <= sizeBytes_.load(std::memory_order_relaxed) || end <= SizeBytes();
}

void Mapping::Grow(int64_t sizeBytes) {
  if (mode_ == MappingMode::kShared) {
    if (readOnly_) throw SystemError(EBADF, "fallocate");
    Allocate(file_.get(), sizeBytes);
    SizeBytes();
    return;
  }
  const int64_t current = sizeBytes_;
  if (sizeBytes <= current) return;
  // Past the end of the file there is memory of our own. The rest of the file's last page is zero
  // already and private already.
  const int64_t from = RoundUpToPage(current);
  const int64_t to = RoundUpToPage(sizeBytes);
  if (mode_ == MappingMode::kPrivate && to > from) {
    const int prot = PROT_READ | (readOnly_ ? 0 : PROT_WRITE);
    void* at = base_ + from;
    if (mmap(at, static_cast<size_t>(to - from), prot,
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
      throw SystemError(errno, "mmap");
    }
  }
  sizeBytes_ = sizeBytes;
}

void Mapping::Truncate(int64_t sizeBytes) {
  if (mode_ != MappingMode::kShared) throw SystemError(EINVAL, "ftruncate");
  // A file made longer this way would have a hole, and a hole is a SIGBUS on a full disk.
  if (sizeBytes > SizeBytes()) throw OutOfRange("truncate() must not make the file longer");
  int result;
  do {
    result = ftruncate(file_.get(), sizeBytes);
  } while (result != 0 && errno == EINTR);
  if (result != 0) throw SystemError(errno, "ftruncate");
  SizeBytes();
}

void Mapping::Flush() {
  if (mode_ != MappingMode::kShared) return;
  // Not repeated after any error: the kernel may have dropped what it could not write.
  if (fdatasync(file_.get()) != 0) throw SystemError(errno, "fdatasync");
}

void Mapping::Sync(int64_t offset, int64_t length) {
  if (msync(base_ + offset, static_cast<size_t>(length), MS_SYNC) != 0) {
    throw SystemError(errno, "msync");
  }
}

void Mapping::Advise(int64_t offset, int64_t length, int advice) {
  if (madvise(base_ + offset, static_cast<size_t>(length), advice) != 0) {
    throw SystemError(errno, "madvise");
  }
}

void Mapping::WillNeed(std::vector<uint32_t>* pages) {
  std::sort(pages->begin(), pages->end());
  const auto end = static_cast<int64_t>(reserveBytes_);
  const auto systemPage = static_cast<int64_t>(PageBytes());
  for (size_t i = 0; i < pages->size();) {
    const int64_t from = (*pages)[i] * kPageBytes / systemPage * systemPage;
    int64_t to = from;
    // Those that lie next to each other are one request.
    for (; i < pages->size() && (*pages)[i] * kPageBytes <= to; i++) {
      to = (*pages)[i] * kPageBytes + kPageBytes;
    }
    if (from >= end) return;
    madvise(base_ + from, static_cast<size_t>(std::min(to, end) - from), MADV_WILLNEED);
  }
}

void Mapping::WillOverwrite(uint32_t page) {
  static const char zeros[kPageBytes] = {};
  const int64_t offset = page * kPageBytes;
  // A write behind the end would make the file longer.
  if (mode_ != MappingMode::kShared || readOnly_ || !Contains(offset, kPageBytes)) return;
  // Where it cannot be written, the store will meet the reason.
  [[maybe_unused]] const ssize_t written = pwrite(file_.get(), zeros, sizeof zeros, offset);
}

void Mapping::Lock(int64_t offset, int64_t length) {
  if (mlock(base_ + offset, static_cast<size_t>(length)) != 0) throw SystemError(errno, "mlock");
}

void Mapping::Unlock(int64_t offset, int64_t length) {
  if (munlock(base_ + offset, static_cast<size_t>(length)) != 0) {
    throw SystemError(errno, "munlock");
  }
}

}  // namespace mmapdb
