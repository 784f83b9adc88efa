// What may be said in a message of things that a user gave. Asking them can run code of the user's own, which
// may throw.

/** A value as text, for messages. Never throws. */
export function said(value: unknown): string {
  try {
    return String(value)
  } catch {
    return typeof value === 'function' ? 'a function' : 'an object'
  }
}

/** What an error that users' code threw says. Never throws. */
export function reason(cause: unknown): string {
  try {
    return cause instanceof Error ? String(cause.message) : said(cause)
  } catch {
    return 'it threw an error that cannot be read'
  }
}
