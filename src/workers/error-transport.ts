// Errors on their way between threads and processes, where classes do not survive.
import { ERROR_CLASSES, MmapdbError, type MmapdbErrorCode } from '../errors.js'

/** What an error looks like on its way between threads and processes, where classes do not survive. */
export interface ErrorMessage {
  /** Undefined for an error that is none of ours. */
  readonly code: MmapdbErrorCode | undefined
  readonly message: string
  readonly stack?: string
  /** What the error has besides: `site`, `lsn`, or the `code` and `syscall` of a system's refusal. */
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
  // Of a fault in mmapdb itself, the place where it was thrown says most.
  if (code === undefined && stack !== undefined) error.stack = stack
  return error
}
