{
  'targets': [
    {
      'target_name': 'mmapdb_native',
      'sources': [
        'native/core/allocate.cc',
        'native/core/crc32c.cc',
        'native/core/fault_guard.cc',
        'native/core/file_id.cc',
        'native/core/later_flush.cc',
        'native/core/futex.cc',
        'native/core/mapping.cc',
        'native/core/take_after.cc',
        'native/core/word_watch.cc',
        'native/napi/addon.cc',
        'native/napi/array_buffers.cc',
        'native/napi/directory.cc',
        'native/napi/errors.cc',
        'native/napi/locks.cc',
        'native/napi/loop_call.cc',
        'native/napi/region.cc',
      ],
      'include_dirs': ['<!@(node -p "require(\'node-addon-api\').include")'],
      'defines': [
        'NAPI_VERSION=8',
        # C++ exceptions become JavaScript ones at the border, std::bad_alloc included. Where a
        # worker is being terminated no exception can be thrown any more: it is dropped.
        'NODE_ADDON_API_CPP_EXCEPTIONS_ALL',
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
        '_FILE_OFFSET_BITS=64',
      ],
      # The language version is that which the headers of this version of Node.js are written in.
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti'],
      'cflags_cc': ['-fexceptions', '-fvisibility=hidden', '-Wall', '-Wextra'],
      # Never unloaded: a signal handler points into it, and the last worker thread that had loaded
      # it would otherwise take it away on its way out.
      'ldflags': ['-Wl,-z,nodelete', '-Wl,-z,now'],
    },
  ],
}
