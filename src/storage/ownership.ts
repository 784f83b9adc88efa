// Owners and permissions of the files of a database: a new file gets the permissions that are asked for, or the
// owner, group and permissions of another file.
import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { native } from './native.js'
import { hasCode } from './system-errors.js'

/**
 * Opens a file for reading and writing, and makes it if it is missing: with the permissions that the umask
 * leaves, or with owner, group and permissions of `like`. Until it has these, no other user can read it.
 */
export function openOrMake(path: string, like: string | undefined): number {
  const { O_CREAT, O_EXCL, O_RDWR } = fs.constants
  if (like === undefined) return fs.openSync(path, O_RDWR | O_CREAT)
  let fd: number
  try {
    fd = fs.openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    // The process that made it gives it its owner, and the target of a link must not be given away.
    return fs.openSync(path, O_RDWR)
  }
  try {
    native.takeAfter(fd, like)
    return fd
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

const STICKY = 0o1000

/**
 * In a directory like /tmp (mode +t) only the file's owner, the directory's owner and root may remove or rename it.
 */
export function mayReplace(path: string): boolean {
  const own = process.geteuid?.()
  const file = fs.statSync(path)
  const directory = fs.statSync(dirname(path))
  return own === 0 || !file.isFile() || (directory.mode & STICKY) === 0 || file.uid === own || directory.uid === own
}

/** A umask may take rights from all users. The maker gets them back: otherwise it could not use what it made. */
export function leaveToOwner(path: string, rights: number): void {
  const mode = fs.statSync(path).mode & 0o7777
  if ((mode & rights) !== rights) fs.chmodSync(path, mode | rights)
}

/** If root makes the first file of a database in another user's directory, that user gets the file. */
export function giveToOwnerOfDirectory(path: string): void {
  if (process.geteuid?.() !== 0) return
  const { uid, gid } = fs.statSync(dirname(path))
  if (uid !== 0) fs.lchownSync(path, uid, gid)
}

/** Has another name until it has its owner. A crash in between leaves that name, and the next call removes it. */
export function makeDirectoryLike(path: string, like: string): void {
  const unfinished = `${path}.new`
  fs.rmSync(unfinished, { force: true, recursive: true })
  fs.mkdirSync(unfinished, 0o700)
  leaveToOwner(unfinished, 0o700)
  const fd = fs.openSync(unfinished, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW)
  try {
    native.takeAfter(fd, like)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(unfinished, path)
}
