// The bytes of valueEncoding "msgpack": MessagePack, with extensions for what only JavaScript has.
//
//   00  undefined                       one byte, 00
//   42  bigint beyond 64 bits           two's complement, big-endian
//   44  Date                            float64: milliseconds since 1970; NaN: an invalid one
//   45  Error                           one byte, 00; an array follows: the class, an object with the fields that
//                                       are not enumerable (message, stack, cause), one with the others
//   48  array with holes                one byte, 00; an array follows: length, index, value, index, value, ...
//   4d  Map                             one byte, 00; a map follows, whose keys may be anything
//   4e  object without a prototype      one byte, 00; a map follows
//   53  string with lone surrogates     UTF-16, little-endian
//   73  Set                             one byte, 00; an array follows
//   74  typed array, ArrayBuffer, DataView   its kind, then its bytes
//   78  RegExp                          one byte, 00; an array follows: source, flags, lastIndex (left out if 0)
//
// A map without an extension is a plain object; its keys are strings. Buffers are what MessagePack calls
// bin. Still read, but no longer written: 65 (Error: an array of name, message, cause) and ff (timestamps).
export const EXT = {
  UNDEFINED: 0x00,
  BIGINT: 0x42,
  DATE: 0x44,
  ERROR: 0x45,
  HOLES: 0x48,
  MAP: 0x4d,
  NO_PROTOTYPE: 0x4e,
  UTF16: 0x53,
  OLD_ERROR: 0x65,
  SET: 0x73,
  BYTES: 0x74,
  REGEXP: 0x78,
  TIMESTAMP: 0xff,
} as const

/** Kinds of an extension 74, by their numbers. */
export const TYPED_ARRAYS = [
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const
export const ARRAY_BUFFER = 16
export const DATA_VIEW = 17
/** In newer JavaScript only. */
export const FLOAT16_ARRAY = 18

/** Classes of errors that come back as what they are. */
export const ERRORS = {
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
} as const
type ErrorName = keyof typeof ERRORS
export const isErrorName = (name: unknown): name is ErrorName => typeof name === 'string' && Object.hasOwn(ERRORS, name)

/** Fields of an error that are not enumerable if the language sets them. */
export const ERROR_FIELDS = ['message', 'name', 'stack', 'cause'] as const
