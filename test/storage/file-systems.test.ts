// Which file systems are taken for local. If this failed, a database would be opened where two machines can write to
// it at once and neither notices, or be refused on a disk of this machine.
import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { judgeFileSystem, mountedType } from '../../src/storage/file-systems.js'
import { posixStorage } from '../../src/storage/posix.js'

const FUSE = 0x65735546
const EXT4 = 0xef53

/** Lines of mountinfo: each mount is on the one before it whose point is nearest above, or on `on`. */
function mounts(...list: readonly { readonly at: string; readonly type: string; readonly on?: number }[]): string {
  const above = (i: number): number => {
    let best = -1
    for (let j = 0; j < i; j++) {
      const point = list[j]!.at
      if (
        (point === '/' || list[i]!.at === point || list[i]!.at.startsWith(`${point}/`)) &&
        (best < 0 || point.length >= list[best]!.at.length)
      )
        best = j
    }
    return best
  }
  return list
    .map(
      ({ at, type, on }, i) =>
        `${20 + i} ${20 + (on ?? above(i))} 8:${i} / ${at} rw,relatime shared:${i} master:2 - ${type} source rw,user_id=0\n`,
    )
    .join('')
}

describe('storage: file systems', () => {
  const root = { at: '/', type: 'ext4' }

  it('are told by their magic number where it says enough', () => {
    expect(judgeFileSystem(EXT4, '', '/db')).to.deep.equal({ name: 'ext4', networked: false })
    for (const [magic, name] of [
      [0x6969, 'nfs'],
      [0xff534d42, 'cifs'],
      [0xfe534d42, 'smb2'],
      [0x00c36400, 'ceph'],
      [0x01021997, '9p'],
    ] as const) {
      expect(judgeFileSystem(magic, mounts(root), '/db')).to.deep.equal({ name, networked: true })
    }
  })

  for (const type of [
    'fuse.sshfs',
    'fuse.glusterfs',
    'fuse.s3fs',
    'fuse.rclone',
    'fuse.gvfsd-fuse',
    'fuse.unheard-of',
    'fuse',
    'virtiofs',
  ]) {
    it(`on FUSE, ${type} is not a local one`, () => {
      expect(judgeFileSystem(FUSE, mounts(root, { at: '/mnt', type }), '/mnt/db')).to.deep.equal({
        name: type,
        networked: true,
      })
    })
  }
  for (const type of ['fuseblk', 'fuse.fuse-overlayfs', 'fuse.ntfs-3g', 'fuse.exfat']) {
    it(`on FUSE, ${type} is a local one`, () => {
      expect(judgeFileSystem(FUSE, mounts(root, { at: '/mnt', type }), '/mnt/db')).to.deep.equal({
        name: type,
        networked: false,
      })
    })
  }
  it('on FUSE, an unknown one is not local', () => {
    expect(judgeFileSystem(FUSE, '', '/db')).to.deep.equal({ name: 'fuse', networked: true })
    expect(judgeFileSystem(FUSE, 'garbage\n\n1 2 3\n', '/db').networked).to.equal(true)
  })

  it('that are not known are told by their type, and else taken for local', () => {
    expect(judgeFileSystem(0x1234, mounts(root, { at: '/mnt', type: 'lustre' }), '/mnt/db')).to.deep.equal({
      name: 'lustre',
      networked: true,
    })
    expect(judgeFileSystem(0x1234, mounts(root, { at: '/mnt', type: 'newfs' }), '/mnt/db')).to.deep.equal({
      name: 'newfs',
      networked: false,
    })
    expect(judgeFileSystem(0x1234, '', '/db')).to.deep.equal({ name: '0x1234', networked: false })
  })

  it('are found by the mount that a path leads into', () => {
    const info = mounts(
      root,
      { at: '/mnt', type: 'fuse.sshfs' },
      { at: '/mnt/disk', type: 'fuseblk' },
      { at: '/mnt/disk/deep/er', type: 'tmpfs' },
    )
    for (const [path, type] of [
      ['/', 'ext4'],
      ['/mnt', 'fuse.sshfs'],
      ['/mnt/db', 'fuse.sshfs'],
      ['/mntx/db', 'ext4'],
      ['/mnt/disk', 'fuseblk'],
      ['/mnt/disk/deep', 'fuseblk'],
      ['/mnt/disk/deep/er/db', 'tmpfs'],
      ['/mnt/diskette', 'fuse.sshfs'],
    ] as const) {
      expect(mountedType(info, path), path).to.equal(type)
    }
  })

  it('are the last that was mounted at a place, not one that another mount covers', () => {
    expect(mountedType(mounts(root, { at: '/mnt', type: 'nfs4' }, { at: '/mnt', type: 'xfs' }), '/mnt/db')).to.equal(
      'xfs',
    )
    // The second covers the first, which was mounted below it before.
    expect(
      mountedType(mounts(root, { at: '/mnt/far', type: 'nfs4' }, { at: '/mnt', type: 'xfs' }), '/mnt/far/db'),
    ).to.equal('xfs')
    expect(
      mountedType(mounts({ at: '/', type: 'rootfs' }, { at: '/', type: 'ext4' }, { at: '/mnt', type: 'nfs' }), '/db'),
    ).to.equal('ext4')
  })

  it('are found at places with blanks, tabs, backslashes and line ends in their names', () => {
    const info = mounts(
      root,
      { at: '/a\\040b\\011c\\134d\\012e', type: 'fuse.sshfs' },
      { at: '/\u00fcber', type: 'fuse.s3fs' },
    )
    expect(mountedType(info, '/a b\tc\\d\ne/db')).to.equal('fuse.sshfs')
    expect(mountedType(info, '/a')).to.equal('ext4')
    expect(mountedType(info, '/\u00fcber/db')).to.equal('fuse.s3fs')
  })

  it('are found where the root of the process is no mount point', () => {
    const info = '30 25 8:1 /jail/mnt /mnt rw - fuse.sshfs source rw\n31 30 8:2 / /mnt/disk rw - ext4 source rw\n'
    expect(mountedType(info, '/mnt/db')).to.equal('fuse.sshfs')
    expect(mountedType(info, '/mnt/disk/db')).to.equal('ext4')
    expect(mountedType(info, '/db')).to.equal(undefined)
  })

  it('are found on this machine as the system names them', () => {
    const info = readFileSync('/proc/self/mountinfo', 'utf8')
    expect(mountedType(info, '/proc/self')).to.equal('proc')
    expect(posixStorage.fileSystem('/proc/self/').name).to.equal('proc')
  })
})
