// Who may do what with whose database, and whom it must not disturb. `npm run test:environments` runs it as root.
import { describeRows, MEMBER, OTHER, OWNER, ROOT, type CommandStep, type Row, type Step, type User } from './row.js'

const PUT = `const db = await open(); await db.put('key', 'value'); await db.close(); return 'put'`
const GET = `const db = await open({ readOnly: true }); const value = db.get('key'); await db.close(); return value`

const puts = (as: User, more: Partial<Step> = {}): Step => ({ as, does: PUT, gives: 'put', ...more })
const gets = (as: User, more: Partial<Step> = {}): Step => ({ as, does: GET, gives: 'value', ...more })
const refused = (as: User, code: string, more: Partial<Step> = {}): Step => ({ as, does: PUT, gives: code, ...more })

/** Leaves a log to replay, of small segments: its process ends without closing. */
const dies = (as: User): Step => ({
  as,
  options: { segmentBytes: 4096, checkpointBytes: 65536 },
  does: `const db = await open(); for (let i = 0; i < 100; i++) await db.put('n' + i, 'x'.repeat(200)); await db.put('key', 'value'); return 'dead'`,
  gives: 'dead',
})
/** Writes until the row is over, and finds that all of it is there. */
const writesOn = (as: User): Step => ({
  as,
  goesOn: true,
  options: { segmentBytes: 65536, checkpointBytes: 65536 },
  does: `const db = await open(); await db.put('key', 'value'); ready()
         let n = 0
         while (!isOver()) { for (let k = 0; k < 20; k++) await db.put('n' + (n++ % 500), 'x'.repeat(300)); await sleep(1) }
         const { ok } = await db.verify(); const value = db.get('key'); await db.close(); return ok && value`,
  gives: 'value',
})
/** What every file looks like: owner, group and mode. */
const looks = (gives: string[]): Step => ({
  does: `const seen = new Set()
         for (const name of fs.readdirSync(path, { recursive: true })) {
           const s = fs.statSync(path + '/' + name)
           if (s.isFile()) seen.add(s.uid + ':' + s.gid + ' ' + (s.mode & 0o777).toString(8))
         }
         return [...seen].sort()`,
  gives,
})
const owned = (mode: string): Step => looks([`${OWNER.uid}:${OWNER.gid} ${mode}`])

const commandsThatRead: readonly CommandStep[] = [
  { command: ['get', 'key'], status: 0, prints: 'value' },
  { command: ['scan'], status: 0, prints: /key\t"value"/ },
  { command: ['stats', '--json'], status: 0, prints: /"entries":/ },
  { command: ['verify'], status: 0 },
  { command: ['wal'], status: 0 },
  { command: ['slots'], status: 0 },
  { command: ['recover', '--dry-run'], status: 0 },
]
const readsByCommands = (as: User): CommandStep[] => commandsThatRead.map((step) => ({ as, ...step }))

const locksNobodyOut: Row[] = [
  ...[0o022, 0o077, 0o002].map((umask): Row => ({
    what: `a write by root, umask ${umask.toString(8)}, to a database that was closed: the owner goes on`,
    steps: [puts(OWNER), puts(ROOT, { umask }), owned('644'), puts(OWNER), owned('644')],
  })),
  {
    what: 'a write by root to a database that a crash left behind',
    steps: [dies(OWNER), puts(ROOT), owned('644'), gets(OWNER), puts(OWNER)],
  },
  {
    what: 'root dies in the middle of its writes: the owner recovers',
    steps: [puts(OWNER), dies(ROOT), owned('644'), gets(OWNER), puts(OWNER), owned('644')],
  },
  {
    what: 'a reader run by root is the first opener, of a clean database and of one to recover',
    steps: [puts(OWNER), gets(ROOT), owned('644'), puts(OWNER), dies(OWNER), gets(ROOT), owned('644'), puts(OWNER)],
  },
  { what: 'a write by root beside the owner\'s', steps: [writesOn(OWNER), dies(ROOT), puts(ROOT), owned('644')] },
  {
    what: 'root makes a database in a directory of the owner\'s',
    steps: [{ sh: `mkdir $DB; chown ${OWNER.uid}:${OWNER.gid} $DB` }, puts(ROOT), owned('644'), puts(OWNER)],
  },
  {
    what: 'root is killed while it makes a segment, before that is the owner\'s',
    steps: [
      dies(OWNER),
      { sh: 'last=$(ls $DB/wal | grep -v spare | tail -1); size=$(stat -c %s $DB/wal/$last)\n' +
          'next=$(printf "%016x.wal" $((0x${last%.wal} + size - 64))); (umask 077; : > $DB/wal/$next)' },
      gets(OWNER),
      puts(OWNER),
    ],
  },
  {
    what: 'commands of root: put, load, verify, recover, stats',
    steps: [
      puts(OWNER),
      ...[['put', 'a', 'b'], ['load', '--ops', '2000', '--quiet'], ['verify'], ['recover'], ['stats']].map((command): CommandStep => ({ as: ROOT, command, status: 0 })),
      owned('644'),
      puts(OWNER),
    ],
  },
  {
    what: 'two users of a group take turns, and one writes beside the other',
    steps: [
      { sh: `mkdir $DB; chown ${OWNER.uid}:${OWNER.gid} $DB; chmod 2770 $DB` },
      puts(OWNER, { umask: 0o007 }),
      puts(MEMBER, { umask: 0o022 }),
      dies(MEMBER),
      puts(OWNER, { umask: 0o022 }),
      writesOn(OWNER),
      puts(MEMBER),
      dies(MEMBER),
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
    ],
  },
]

const staysPrivate: Row[] = [
  ...['600', '640', '660'].map((mode): Row => ({
    what: `files that were made ${mode} are joined by files of the same mode, whoever writes`,
    steps: [
      puts(OWNER),
      { sh: `chmod ${mode} $DB/data $DB/control $DB/wal/*` },
      dies(OWNER), owned(mode),
      dies(ROOT), owned(mode),
      puts(ROOT, { umask: 0 }), owned(mode),
      gets(ROOT), owned(mode),
      puts(OWNER), owned(mode),
    ],
  })),
  {
    what: 'spare segments made when the database was open to all are not used again',
    steps: [
      {
        as: OWNER,
        options: { segmentBytes: 4096, checkpointBytes: 65536 },
        does: `const db = await open(); for (let i = 0; i < 1000; i++) await db.put(i, 'x'.repeat(200)); await db.checkpoint()
               for (const name of ['data', 'control', ...fs.readdirSync(path + '/wal').filter((n) => !n.startsWith('spare')).map((n) => 'wal/' + n)]) fs.chmodSync(path + '/' + name, 0o600)
               for (let i = 0; i < 100; i++) await db.put(i, 'secret'.repeat(50))
               return fs.readdirSync(path + '/wal').filter((n) => !n.startsWith('spare') && (fs.statSync(path + '/wal/' + n).mode & 0o77) !== 0)`,
        gives: [],
      },
    ],
  },
  {
    what: 'who may not read gets a typed error, and disturbs nobody',
    steps: [
      puts(OWNER),
      { sh: 'chmod 600 $DB/data $DB/control $DB/wal/*' },
      writesOn(OWNER),
      gets(OTHER, { gives: 'ERR_MMAPDB_PERMISSION' }),
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
      { as: OTHER, command: ['get', 'key'], status: 2 },
      { sh: 'chmod 644 $DB/data $DB/control $DB/wal/*; chmod 700 $DB' },
      gets(OTHER, { gives: 'ERR_MMAPDB_PERMISSION' }),
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
    ],
  },
]

const READ_ONLY = 'chmod -R a-w $DB'

const whoMayOnlyRead: Row[] = [
  {
    what: 'another user reads a database that nobody has open, and writes are refused',
    steps: [puts(OWNER), gets(OTHER), refused(OTHER, 'ERR_MMAPDB_PERMISSION'), ...readsByCommands(OTHER), gets(MEMBER), owned('644'), puts(OWNER)],
  },
  {
    what: 'another user reads what a crash left behind, and leaves it as it is',
    steps: [dies(OWNER), gets(OTHER), ...readsByCommands(OTHER), gets(OTHER, { options: { workers: 2 } }), owned('644'), puts(OWNER)],
  },
  {
    what: 'files and directories that nobody may write to, closed or left by a crash',
    steps: [puts(OWNER), { sh: READ_ONLY }, gets(OWNER), gets(OTHER), refused(OWNER, 'ERR_MMAPDB_PERMISSION'), { sh: 'chmod -R u+w $DB' }, dies(OWNER), { sh: READ_ONLY }, gets(OWNER), gets(OTHER)],
  },
  {
    what: 'a directory that may not be written to, with files that may',
    steps: [puts(OWNER), { sh: 'chmod a-w $DB $DB/wal' }, gets(OWNER), refused(OWNER, 'ERR_MMAPDB_PERMISSION')],
  },
  {
    what: 'a reader that came while nobody had it open keeps no writer out, and sees what it saw',
    steps: [
      dies(OWNER),
      {
        as: OTHER,
        goesOn: true,
        does: `const db = await open({ readOnly: true }); ready(); const before = JSON.stringify([...db.range()])
               while (!isOver()) { await sleep(5); if (db.get('key') !== 'value') return 'changed' }
               const { ok } = await db.verify(); const same = JSON.stringify([...db.range()]) === before; await db.close(); return { ok, same }`,
        gives: { ok: true, same: true },
      },
      puts(OWNER),
      { as: OWNER, options: { segmentBytes: 4096, checkpointBytes: 65536 }, gives: 'overwritten',
        does: `const db = await open(); for (let r = 0; r < 20; r++) { for (let i = 0; i < 100; i++) await db.put('n' + i, 'y'.repeat(200)); await db.checkpoint() }
               for (let i = 0; i < 100; i++) await db.del('n' + i); await db.close(); return 'overwritten'` },
      puts(OWNER),
      dies(OWNER),
      puts(ROOT),
    ],
  },
  { what: 'there is no database', steps: [gets(OTHER, { gives: 'ERR_MMAPDB_NOT_FOUND' }), { sh: 'mkdir $DB' }, gets(OTHER, { gives: 'ERR_MMAPDB_NOT_FOUND' }), { sh: ': > $DB/data' }, gets(OTHER, { gives: 'ERR_MMAPDB_NOT_FOUND' })] },
]

const mounts: Row[] = [
  {
    what: 'a file system that is mounted read-only, closed and left by a crash',
    tmpfs: 'size=64m',
    steps: [puts(OWNER), { sh: 'mount -o remount,ro $PLACE' }, gets(OWNER), gets(ROOT), refused(ROOT, 'ERR_MMAPDB_READ_ONLY'), ...readsByCommands(OTHER),
      { sh: 'mount -o remount,rw $PLACE' }, dies(OWNER), { sh: 'mount -o remount,ro $PLACE' }, gets(OTHER), gets(ROOT)],
  },
]

describeRows('users: nobody is locked out', locksNobodyOut)
describeRows('users: what is private stays private', staysPrivate)
describeRows('users: who may only read', whoMayOnlyRead)
describeRows('mounts', mounts)

describeRows('ways of starting a program', [
  {
    what: 'a module given on the command line, with flags that worker threads would not take',
    steps: [
      {
        does: `const { spawnSync } = await import('node:child_process')
               const code = 'import { open } from ' + JSON.stringify(entry) + '; const db = await open(' + JSON.stringify(path) + '); await db.put(1, 2); console.log(db.get(1)); await db.close()'
               return spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }).stdout.trim()`,
        gives: '2',
      },
    ],
  },
])
