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

// Device, inode, bytes of a window, read-only. The mapping keeps its file open, so no other file gets
// the inode.
using FileKey = std::tuple<dev_t, ino_t, int64_t, bool>;

// The unit in which a file is read, whatever the page size of the machine.
constexpr int64_t kPageBytes = 4096;

struct Registry {
  std::mutex mutex;
  std::map<FileKey, std::weak_ptr<Mapping>> mappings;
  // Memory shared under the name of a file, by device and inode.
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<Mapping>> memories;
};

// Never destroyed: worker threads may outlive the static destructors of the process.
Registry& TheRegistry() {
  static Registry* registry = new Registry;
  return *registry;
}

Descriptor OpenFile(const std::string& path, int flags) {
  // O_NONBLOCK: a FIFO of that name must be refused, not waited for. It has no effect on files.
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw SystemError(errno, "open");
  return Descriptor(fd);
}

FileKey KeyOf(const Descriptor& file, int64_t windowBytes, bool readOnly) {
  struct stat status;
  if (fstat(file.get(), &status) != 0) throw SystemError(errno, "fstat");
  if (S_ISDIR(status.st_mode)) throw SystemError(EISDIR, "open");
  if (!S_ISREG(status.st_mode)) throw SystemError(ENODEV, "open");
  return {status.st_dev, status.st_ino, windowBytes, readOnly};
}

int64_t RoundUpToPage(int64_t bytes) {
  const int64_t page = static_cast<int64_t>(PageBytes());
  return (bytes + page - 1) / page * page;
}

}  // namespace

std::shared_ptr<Mapping> Mapping::Open(MappingMode mode, const std::string& path, int64_t windowBytes, bool create,
                                       bool readOnly) {
  if (mode == MappingMode::kAnonymous) {
    return std::shared_ptr<Mapping>(new Mapping(mode, Descriptor(), windowBytes, readOnly));
  }
  if (mode == MappingMode::kPrivate) {
    Descriptor file = OpenFile(path, O_RDONLY);
    KeyOf(file, windowBytes, readOnly);
    return std::shared_ptr<Mapping>(new Mapping(mode, std::move(file), windowBytes, readOnly));
  }
  if (mode == MappingMode::kProcess) return OpenMemory(OpenFile(path, O_RDONLY), windowBytes, create);
  Descriptor file = OpenFile(path, readOnly ? O_RDONLY : O_RDWR | (create ? O_CREAT : 0));
  const FileKey key = KeyOf(file, windowBytes, readOnly);
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.mutex);
  // Entries of mappings that are gone are removed here, so the destructor needs no lock.
  for (auto entry = registry.mappings.begin(); entry != registry.mappings.end();) {
    entry = entry->second.expired() ? registry.mappings.erase(entry) : std::next(entry);
  }
  const auto found = registry.mappings.find(key);
  if (found != registry.mappings.end()) {
    if (std::shared_ptr<Mapping> mapping = found->second.lock()) return mapping;
  }
  std::shared_ptr<Mapping> mapping(new Mapping(mode, std::move(file), windowBytes, readOnly));
  registry.mappings[key] = mapping;
  return mapping;
}

std::shared_ptr<Mapping> Mapping::OpenMemory(Descriptor file, int64_t windowBytes, bool create) {
  const FileKey fileKey = KeyOf(file, windowBytes, false);
  const std::pair<dev_t, ino_t> key{std::get<0>(fileKey), std::get<1>(fileKey)};
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.mutex);
  for (auto entry = registry.memories.begin(); entry != registry.memories.end();) {
    entry = entry->second.expired() ? registry.memories.erase(entry) : std::next(entry);
  }
  if (!create) {
    const auto found = registry.memories.find(key);
    const auto memory = found == registry.memories.end() ? nullptr : found->second.lock();
    if (!memory) throw SystemError(ENOENT, "open");
    // Where address space is limited, the caller tries smaller windows until it finds this size.
    if (memory->windowBytes_ != windowBytes) throw SystemError(ENOMEM, "mmap");
    return memory;
  }
  std::shared_ptr<Mapping> memory(new Mapping(MappingMode::kProcess, std::move(file), windowBytes, false));
  registry.memories[key] = memory;
  return memory;
}

Mapping::Mapping(MappingMode mode, Descriptor file, int64_t windowBytes, bool readOnly)
    : mode_(mode), readOnly_(readOnly), file_(std::move(file)), windowBytes_(windowBytes) {
  if (!file_.open() || mode == MappingMode::kProcess) return;
  sizeBytes_ = FileSizeBytes(file_.get());
  ownFromBytes_ = RoundUpToPage(sizeBytes_);
}

Mapping::~Mapping() {
  for (const auto& [index, window] : windows_) {
    Unguard(window.guarded);
    munmap(window.base, static_cast<size_t>(windowBytes_));
  }
}

char* Mapping::Window(int64_t index) {
  std::lock_guard<std::mutex> guard(mutex_);
  const auto found = windows_.find(index);
  if (found != windows_.end()) return found->second.base;
  char* base = MapWindow(index);
  try {
    const int prot = PROT_READ | (readOnly_ ? 0 : PROT_WRITE);
    GuardedRange* guarded = Guard(base, static_cast<size_t>(windowBytes_), prot, &faultCount_);
    windows_.emplace(index, MappedWindow{base, guarded});
  } catch (...) {
    munmap(base, static_cast<size_t>(windowBytes_));
    throw;
  }
  if (readsRandomly_) madvise(base, static_cast<size_t>(windowBytes_), MADV_RANDOM);
  return base;
}

char* Mapping::MapWindow(int64_t index) const {
  const auto length = static_cast<size_t>(windowBytes_);
  const int64_t offset = index * windowBytes_;
  const int prot = PROT_READ | (readOnly_ ? 0 : PROT_WRITE);
  // Private: only the part that the file had when it was opened is mapped from the file.
  const bool ofFile = mode_ == MappingMode::kShared || (file_.open() && offset < ownFromBytes_);
  const int flags =
      (mode_ == MappingMode::kShared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE | (ofFile ? 0 : MAP_ANONYMOUS);
  void* base = mmap(nullptr, length, prot, flags, ofFile ? file_.get() : -1, ofFile ? offset : 0);
  if (base == MAP_FAILED) throw SystemError(errno, "mmap");
  const int64_t own = ownFromBytes_ - offset;
  if (mode_ == MappingMode::kPrivate && ofFile && own < windowBytes_) {
    if (mmap(static_cast<char*>(base) + own, length - static_cast<size_t>(own), prot,
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
      const int error = errno;
      munmap(base, length);
      throw SystemError(error, "mmap");
    }
  }
  return static_cast<char*>(base);
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
  // What follows the file is memory of this mapping already.
  if (sizeBytes > sizeBytes_) sizeBytes_ = sizeBytes;
}

void Mapping::Truncate(int64_t sizeBytes) {
  if (mode_ != MappingMode::kShared) throw SystemError(EINVAL, "ftruncate");
  // A file made longer this way would have a hole, and a store into a hole on a full disk is a SIGBUS.
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
  // Not retried after any error: the kernel may have dropped what it could not write.
  if (fdatasync(file_.get()) != 0) throw SystemError(errno, "fdatasync");
}

void Mapping::ReadRandomly() {
  std::lock_guard<std::mutex> guard(mutex_);
  readsRandomly_ = true;
  // Advice: if the kernel ignores it, reading ahead costs time and nothing else.
  for (const auto& [index, window] : windows_) {
    madvise(window.base, static_cast<size_t>(windowBytes_), MADV_RANDOM);
  }
}

void Mapping::WillNeed(std::vector<uint32_t>* pages) {
  std::sort(pages->begin(), pages->end());
  const auto systemPage = static_cast<int64_t>(PageBytes());
  std::lock_guard<std::mutex> guard(mutex_);
  for (size_t i = 0; i < pages->size();) {
    const int64_t from = (*pages)[i] * kPageBytes / systemPage * systemPage;
    const int64_t index = from / windowBytes_;
    const int64_t end = (index + 1) * windowBytes_;
    int64_t to = from;
    // Neighbouring pages in one window are one request.
    for (; i < pages->size() && (*pages)[i] * kPageBytes <= to && to < end; i++) {
      to = (*pages)[i] * kPageBytes + kPageBytes;
    }
    const auto window = windows_.find(index);
    if (window == windows_.end()) continue;
    madvise(window->second.base + (from - index * windowBytes_), static_cast<size_t>(std::min(to, end) - from),
            MADV_WILLNEED);
  }
}

bool Mapping::AreInMemory(const uint32_t* pages, size_t count) {
  const auto systemPage = static_cast<int64_t>(PageBytes());
  std::lock_guard<std::mutex> guard(mutex_);
  for (size_t i = 0; i < count; i++) {
    const int64_t from = pages[i] * kPageBytes / systemPage * systemPage;
    const int64_t index = from / windowBytes_;
    const auto window = windows_.find(index);
    if (window == windows_.end()) return false;
    unsigned char resident = 0;
    const int failed = mincore(window->second.base + (from - index * windowBytes_), PageBytes(), &resident);
    if (failed != 0 || (resident & 1) == 0) return false;
  }
  return true;
}

void Mapping::WillOverwrite(uint32_t page) {
  static const char zeros[kPageBytes] = {};
  const int64_t offset = page * kPageBytes;
  // A write after the end would make the file longer.
  if (mode_ != MappingMode::kShared || readOnly_ || !Contains(offset, kPageBytes)) return;
  // Failure is ignored: the later store reports it.
  [[maybe_unused]] const ssize_t written = pwrite(file_.get(), zeros, sizeof zeros, offset);
}

}  // namespace mmapdb
