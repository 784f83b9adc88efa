{
  'targets': [
    {
      'target_name': 'mmapdb_native',
      'sources': [
        'native/addon.cc',
        'native/allocate.cc',
        'native/crc32c.cc',
        'native/directory.cc',
        'native/errors.cc',
        'native/fault_guard.cc',
        'native/file_id.cc',
        'native/futex.cc',
        'native/locks.cc',
        'native/mapping.cc',
        'native/region.cc',
        'native/take_after.cc',
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
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++20'],
      'cflags_cc': ['-std=gnu++17', '-fexceptions', '-fvisibility=hidden', '-Wall', '-Wextra'],
      # Never unloaded: a signal handler points into it, and the last worker thread that had loaded
      # it would otherwise take it away on its way out.
      'ldflags': ['-Wl,-z,nodelete', '-Wl,-z,now'],
    },
  ],
}
