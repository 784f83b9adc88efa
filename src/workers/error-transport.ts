// Errors on their way between threads and processes: classes do not survive that way.
import { ERROR_CLASSES, MmapdbError, type MmapdbErrorCode } from '../errors.js'

/** An error as it is sent between threads and processes. */
export interface ErrorMessage {
  /** Undefined for an error that is not one of mmapdb. */
  readonly code: MmapdbErrorCode | undefined
  readonly message: string
  readonly stack?: string
  /** Further fields of the error: `site`, `lsn`, or the `code` and `syscall` of a system error. */
  readonly fields: Readonly<Record<string, unknown>>
  readonly cause?: ErrorMessage
}

/** How far a chain of causes is followed. */
const MAX_CAUSES = 4

export function toErrorMessage(error: unknown, causes = MAX_CAUSES): ErrorMessage {
  if (!(error instanceof Error)) return { code: undefined, message: String(error), fields: {} }
  const ours = error instanceof MmapdbError
  const isSent = (name: string, value: unknown): boolean => (ours ? name !== 'name' && name !== 'code' : isPlain(value))
  const fields = Object.entries(error).filter(([name, value]) => isSent(name, value))
  return {
    code: ours ? error.code : undefined,
    message: error.message,
    fields: Object.fromEntries(fields),
    ...(error.stack !== undefined && { stack: error.stack }),
    ...(error.cause instanceof Error && causes > 0 && { cause: toErrorMessage(error.cause, causes - 1) }),
  }
}

const isPlain = (value: unknown): boolean => ['string', 'number', 'boolean'].includes(typeof value)

export function fromErrorMessage({ code, message, stack, fields, cause }: ErrorMessage): Error {
  const Class: new (message: string) => Error = code === undefined ? Error : ERROR_CLASSES[code]
  const error = Object.assign(new Class(message), fields)
  if (cause !== undefined) error.cause = fromErrorMessage(cause)
  // For a fault in mmapdb itself, the place where it was thrown is the best clue.
  if (code === undefined && stack !== undefined) error.stack = stack
  return error
}
