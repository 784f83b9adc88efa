// An ArrayBuffer over a window of a file, which V8 does not count as memory of the program.
//
// V8 adds the length of an external ArrayBuffer to what it believes the program has allocated, and collects garbage
// when that has grown by 64 MiB; with more than a limit, again and again. But a window is address space: what of it is
// in memory belongs to the page cache. Node-API offers no buffer that is not counted, and taking the length off again
// (napi_adjust_external_memory) starts a collection with each window all the same; where V8 takes it off itself, too,
// the sum falls below zero, which newer versions answer by aborting the process. V8's own interface has a kind of
// buffer that is not counted: one whose memory is freed by others.
#pragma once

#include <node_api.h>

#include <cstddef>

namespace mmapdb {

// The memory must stay for as long as anyone can reach the buffer.
napi_value MakeWindowBuffer(void* data, size_t lengthBytes);

}  // namespace mmapdb
