// The path of a database is made absolute once, when the user gives it: where it leads must not depend on a later
// working directory.
import { realpathSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { NotFoundError } from '../errors.js'

/** All of a path up to its last `..`. */
const UP_TO_LAST_STEP = /^.*\/\.\.(?=\/|$)/s

/**
 * `path` as an absolute path without `.`, `..` and doubled or trailing slashes. It leads where the system would go
 * for `path` now. Throws `NotFoundError` if the working directory is needed and has been removed.
 */
export function absolutePath(path: string): string {
  const whole = isAbsolute(path) ? path : `${workingDirectory(path)}/${path}`
  // `..` leads out of the directory that a symbolic link points to, not out of the one that holds the link.
  const steps = UP_TO_LAST_STEP.exec(whole)?.[0]
  if (steps === undefined) return resolve(whole)
  try {
    return resolve(realpathSync.native(steps), `.${whole.slice(steps.length)}`)
  } catch {
    // Part of the path is missing. Opening it fails for the same reason, or creates what the path names.
    return resolve(whole)
  }
}

function workingDirectory(path: string): string {
  try {
    return process.cwd()
  } catch (cause) {
    throw new NotFoundError(
      `${path} is relative to the working directory, which has been removed. Give an absolute path.`,
      { cause },
    )
  }
}
