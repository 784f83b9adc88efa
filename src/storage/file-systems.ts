// Which file systems keep a database safe. Where another host may have a file open, this kernel knows nothing of the
// mappings, locks and futexes of that host, and neither machine would notice.
//
// The magic number of statfs(2) identifies most file systems. Every FUSE file system and virtiofs share one number:
// the type in /proc/self/mountinfo (`fuse.sshfs` and the like) tells these apart. Of them only those that are known
// to be local count as local; any other may lead to another machine (sshfs, glusterfs, s3fs, rclone, virtiofs, ...).
// A file system with an unknown magic number counts as local.

// By the magic number of statfs(2).
const LOCAL_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'], // ext2 and ext3, too: they share the number
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x2fc12fc1, 'zfs'],
  [0xca451a4e, 'bcachefs'],
  [0xf2f52010, 'f2fs'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
  [0x794c7630, 'overlayfs'],
  [0x3153464a, 'jfs'],
  [0x52654973, 'reiserfs'],
  [0x4d44, 'vfat'],
  [0x2011bab0, 'exfat'],
  [0x5346544e, 'ntfs'],
  [0x7366746e, 'ntfs3'],
  [0x73717368, 'squashfs'],
  [0xe0f5e1e2, 'erofs'],
  [0x9660, 'isofs'],
  [0xf15f, 'ecryptfs'],
  [0x3434, 'nilfs2'],
  [0x24051905, 'ubifs'],
  [0x61756673, 'aufs'],
])

const FUSE_MAGIC = 0x65735546

/** FUSE file systems that are local: on a block device, or over directories of this machine. */
const LOCAL_ON_FUSE: ReadonlySet<string> = new Set([
  'fuseblk', // ntfs-3g, exfat-fuse: the kernel itself says that it is on a block device
  'fuse.ntfs',
  'fuse.ntfs-3g',
  'fuse.exfat',
  'fuse.fuseext2',
  'fuse.fuse2fs',
  'fuse.zfs',
  'fuse.fuse-overlayfs',
])

const NETWORKED_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'nfs'],
  [0x517b, 'smb'],
  [0xfe534d42, 'smb2'],
  [0xff534d42, 'cifs'],
  [0x00c36400, 'ceph'],
  [0x01021997, '9p'],
  [0x5346414f, 'openafs'],
  [0x6b414653, 'afs'],
  [0x73757245, 'coda'],
  [0x564c, 'ncp'],
  [0x0bd00bd0, 'lustre'],
  [0x47504653, 'gpfs'],
  [0x01161970, 'gfs2'],
  [0x7461636f, 'ocfs2'],
  [0x19830326, 'beegfs'],
  [0x20030528, 'orangefs'],
  [0x786f4256, 'vboxsf'],
])

/** By type in mountinfo, for file systems whose magic number is new or shared. */
const NETWORKED_TYPES =
  /^(nfs|nfs4|cifs|smb3|smbfs|ceph|9p|afs|coda|ncpfs|lustre|gpfs|gfs2|ocfs2|beegfs|orangefs|pvfs2|glusterfs|panfs|vboxsf|virtiofs|acfs)$/

interface FileSystemJudgement {
  readonly name: string
  readonly networked: boolean
}

/**
 * Judges the file system that `path`, a real and absolute path, is on. `magic`: as statfs(2) gives it for the path;
 * `mountInfo`: the text of /proc/self/mountinfo, or '' where that cannot be read.
 */
export function judgeFileSystem(magic: number, mountInfo: string, path: string): FileSystemJudgement {
  const networkedName = NETWORKED_FILE_SYSTEMS.get(magic)
  if (networkedName !== undefined) return { name: networkedName, networked: true }
  const type = mountedType(mountInfo, path)
  if (type !== undefined && NETWORKED_TYPES.test(type)) return { name: type, networked: true }
  if (magic === FUSE_MAGIC) return { name: type ?? 'fuse', networked: type === undefined || !LOCAL_ON_FUSE.has(type) }
  return { name: LOCAL_FILE_SYSTEMS.get(magic) ?? type ?? `0x${magic.toString(16)}`, networked: false }
}

interface Mount {
  readonly id: string
  readonly parent: string
  readonly point: string
  readonly type: string
}

/**
 * The type of the file system that `path` is on. Goes down the path as the system does, from each mount into the
 * first one that is mounted on it: so a mount that another mount covers does not count, nor do those below it.
 */
export function mountedType(mountInfo: string, path: string): string | undefined {
  const above = mountInfo
    .split('\n')
    .flatMap((line) => mountOf(line) ?? [])
    .filter(({ point }) => isBelow(path, point))
  const mount = above.find(({ point, parent }) => point === '/' && !above.some(({ id }) => id === parent))
  // If the root of the process is no mount point, the nearest mount in the list has to do.
  if (mount === undefined)
    return above.reduce<Mount | undefined>(
      (a, b) => (a === undefined || b.point.length >= a.point.length ? b : a),
      undefined,
    )?.type
  for (let at: Mount = mount; ;) {
    const next = firstOn(at, above)
    if (next === undefined) return at.type
    at = next
  }
}

function firstOn({ id }: Mount, mounts: readonly Mount[]): Mount | undefined {
  return mounts
    .filter((other) => other.parent === id && other.id !== id)
    .sort((a, b) => a.point.length - b.point.length)[0]
}

const isBelow = (path: string, point: string): boolean =>
  point === '/' || path === point || path.startsWith(`${point}/`)

/** id, parent, device, root, mount point, options, any number of optional fields, then `-`, type, source, options. */
function mountOf(line: string): Mount | undefined {
  const [before, after] = line.split(' - ')
  const [id, parent, , , point] = before!.split(' ')
  const type = after?.split(' ')[0]
  return id === undefined || parent === undefined || point === undefined || type === undefined
    ? undefined
    : { id, parent, point: unescaped(point), type }
}

/** Mountinfo writes blanks, tabs, line ends and backslashes as three octal digits. */
const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
