// Whose the files of a database are: made with the rights that are asked for, or with owner, group and rights of
// another.
import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { native } from './native.js'
import { hasCode } from './system-errors.js'

/**
 * Opens a file for reading and writing, making it if there is none: with the permissions that the umask
 * leaves, or with owner, group and permissions of `like`, and nobody else's to read before it has these.
 */
export function openOrMake(path: string, like: string | undefined): number {
  const { O_CREAT, O_EXCL, O_RDWR } = fs.constants
  if (like === undefined) return fs.openSync(path, O_RDWR | O_CREAT)
  let fd: number
  try {
    fd = fs.openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    // Whoever made it has seen to that, and what a link leads to must not be given away.
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

/** In a directory like /tmp (mode +t) files are removed and renamed by their owner, the directory's, and root alone. */
export function mayReplace(path: string): boolean {
  const own = process.geteuid?.()
  const file = fs.statSync(path)
  const directory = fs.statSync(dirname(path))
  return own === 0 || !file.isFile() || (directory.mode & STICKY) === 0 || file.uid === own || directory.uid === own
}

/** A umask may take rights from everybody, but for whoever makes it there would be no use in what cannot be used. */
export function leaveToOwner(path: string, rights: number): void {
  const mode = fs.statSync(path).mode & 0o7777
  if ((mode & rights) !== rights) fs.chmodSync(path, mode | rights)
}

/** The first file of a database that root makes in somebody's directory is theirs. */
export function giveToOwnerOfDirectory(path: string): void {
  if (process.geteuid?.() !== 0) return
  const { uid, gid } = fs.statSync(dirname(path))
  if (uid !== 0) fs.lchownSync(path, uid, gid)
}

/** Under another name until it has its owner: a crash in between leaves that, and the next one goes by it. */
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
