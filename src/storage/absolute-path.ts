// The path of a database is made absolute once, when it is given: what it leads to must not depend on the
// working directory of a later moment.
import { realpathSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { NotFoundError } from '../errors.js'

/** All of a path up to its last `..`. */
const UP_TO_LAST_STEP = /^.*\/\.\.(?=\/|$)/s

/**
 * `path` as an absolute one without `.`, `..` and doubled or trailing slashes, leading where the system would be
 * led now. Throws `NotFoundError` if the working directory is needed and is gone.
 */
export function absolutePath(path: string): string {
  const whole = isAbsolute(path) ? path : `${workingDirectory(path)}/${path}`
  // What `..` leaves is where a symbolic link leads to, not where it lies.
  const steps = UP_TO_LAST_STEP.exec(whole)?.[0]
  if (steps === undefined) return resolve(whole)
  try {
    return resolve(realpathSync.native(steps), `.${whole.slice(steps.length)}`)
  } catch {
    // Something on the way is missing. Whoever opens it finds that, too, or makes what the path seems to say.
    return resolve(whole)
  }
}

function workingDirectory(path: string): string {
  try {
    return process.cwd()
  } catch (cause) {
    throw new NotFoundError(
      `The working directory, from which ${path} is to be looked up, has been removed. Give an absolute path.`,
      { cause },
    )
  }
}
