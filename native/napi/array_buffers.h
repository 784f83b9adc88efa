// What Node-API cannot do with ArrayBuffers, by V8's own interface.
#pragma once

#include <node_api.h>

#include <cstddef>

namespace mmapdb {

// An ArrayBuffer over a window of a file, which V8 does not count as memory of the program. The memory must stay for as
// long as anyone can reach the buffer.
//
// V8 adds the length of an external ArrayBuffer to what it believes the program has allocated, and collects garbage
// when that has grown by 64 MiB; with more than a limit, again and again. But a window is address space: what of it is
// in memory belongs to the page cache. Node-API offers no buffer that is not counted, and taking the length off again
// (napi_adjust_external_memory) starts a collection with each window all the same; where V8 takes it off itself, too,
// the sum falls below zero, which newer versions answer by aborting the process. V8's own interface has a kind of
// buffer that is not counted: one whose memory is freed by others.
napi_value MakeWindowBuffer(void* data, size_t lengthBytes);

// Detaches `buffer`, which must be an ArrayBuffer. Returns another one that has its memory, or null if it cannot be
// detached. (napi_detach_arraybuffer frees the memory, although something that works on another thread may still read
// it.)
napi_value TransferBuffer(napi_value buffer);

}  // namespace mmapdb
