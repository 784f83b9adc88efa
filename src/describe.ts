// What may be said in a message of things that a user gave. Asking them can run code of the user's own, which
// may throw.

/** False of what only a proxy gives as the length of an array. */
export const isLength = (length: unknown): length is number => Number.isSafeInteger(length) && (length as number) >= 0

/** A value as text, for messages. Never throws. */
function said(value: unknown): string {
  try {
    return String(value)
  } catch {
    return typeof value === 'function' ? 'a function' : 'an object'
  }
}

/** The same, with a string in quotes: "4" is not 4. */
export const quoted = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value) : said(value))

/** What an error that users' code threw says. Never throws. */
export function reason(cause: unknown): string {
  try {
    return cause instanceof Error ? String(cause.message) : said(cause)
  } catch {
    return 'it threw an error that cannot be read'
  }
}
