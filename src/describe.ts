// Describes things that a user gave, for messages. Looking at them can run users' code, which may throw.

/** True for a possible length of an array. A proxy may give anything else as its length. */
export const isLength = (length: unknown): length is number => Number.isSafeInteger(length) && (length as number) >= 0

/** A value as text, for messages. Never throws. */
function textOf(value: unknown): string {
  try {
    const text = String(value)
    return text === '[object Object]' ? 'an object' : text
  } catch {
    return typeof value === 'function' ? 'a function' : 'an object'
  }
}

/** The same, with a string in quotes: "4" is not 4. */
export const quoted = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value) : textOf(value))

/** `value instanceof Class`, where users' code may have thrown `value`: a proxy can throw when it is asked. */
export function isInstance<T>(value: unknown, Class: abstract new (...args: never[]) => T): value is T {
  try {
    return value instanceof Class
  } catch {
    return false
  }
}

/** The message of an error that users' code threw. Never throws. */
export function reason(cause: unknown): string {
  try {
    return cause instanceof Error ? String(cause.message) : textOf(cause)
  } catch {
    return 'it threw an error that cannot be read'
  }
}
