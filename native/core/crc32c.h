// CRC-32C (Castagnoli) by the processor's own instruction.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mmapdb {

// True if this processor has the instruction.
bool HasCrc32c();

// Continues `crc`, the result for the bytes before (0: no bytes). Call only if HasCrc32c().
uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t lengthBytes);

}  // namespace mmapdb
