#include "crc32c.h"

#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

namespace mmapdb {

namespace {

#if defined(__x86_64__)
#define MMAPDB_CRC_TARGET __attribute__((target("sse4.2")))
MMAPDB_CRC_TARGET uint32_t Step8(uint32_t crc, uint64_t word) {
  return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
}
MMAPDB_CRC_TARGET uint32_t Step1(uint32_t crc, uint8_t byte) { return _mm_crc32_u8(crc, byte); }
#elif defined(__aarch64__)
#define MMAPDB_CRC_TARGET __attribute__((target("+crc")))
MMAPDB_CRC_TARGET uint32_t Step8(uint32_t crc, uint64_t word) { return __crc32cd(crc, word); }
MMAPDB_CRC_TARGET uint32_t Step1(uint32_t crc, uint8_t byte) { return __crc32cb(crc, byte); }
#else
#define MMAPDB_CRC_TARGET
uint32_t Step8(uint32_t crc, uint64_t) { return crc; }
uint32_t Step1(uint32_t crc, uint8_t) { return crc; }
#endif

}  // namespace

bool HasCrc32c() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
  return false;
#endif
}

// Cost: one step of 3 cycles for 8 bytes.
MMAPDB_CRC_TARGET uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t lengthBytes) {
  crc = ~crc;
  for (; lengthBytes >= 8; data += 8, lengthBytes -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    crc = Step8(crc, word);
  }
  for (; lengthBytes > 0; data++, lengthBytes--) crc = Step1(crc, *data);
  return ~crc;
}

}  // namespace mmapdb
