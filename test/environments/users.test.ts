// What each user may do with a database of another user, and which users it must not disturb.
// `npm run test:environments` runs it as root.
import {
  describeRows,
  MEMBER,
  OTHER,
  OWNER,
  ROOT,
  type CommandStep,
  type Row,
  type Step,
  type User,
} from '../support/environment.js'

const PUT = `const db = await open(); await db.put('key', 'value'); await db.close(); return 'put'`
const GET = `const db = await open({ readOnly: true }); const value = db.get('key'); await db.close(); return value`

const puts = (as: User, more: Partial<Step> = {}): Step => ({ as, does: PUT, gives: 'put', ...more })
const gets = (as: User, more: Partial<Step> = {}): Step => ({ as, does: GET, gives: 'value', ...more })
const refused = (as: User, code: string, more: Partial<Step> = {}): Step => ({ as, does: PUT, gives: code, ...more })

/** Leaves a log of small segments to replay: its process ends without closing. */
const dies = (as: User): Step => ({
  as,
  options: { segmentBytes: 4096, checkpointBytes: 65536 },
  does: `const db = await open(); for (let i = 0; i < 100; i++) await db.put('n' + i, 'x'.repeat(200)); await db.put('key', 'value'); return 'dead'`,
  gives: 'dead',
})
/** Writes until the row is over, and checks that all its writes are there. */
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
/** Owner, group and mode of every file. */
const looks = (gives: string[]): Step => ({
  does: `const seen = new Set()
         for (const name of fs.readdirSync(path, { recursive: true })) {
           // A writer may rename or remove a file meanwhile.
           const s = fs.statSync(path + '/' + name, { throwIfNoEntry: false })
           if (s?.isFile()) seen.add(s.uid + ':' + s.gid + ' ' + (s.mode & 0o777).toString(8))
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
  ...[0o177, 0o377, 0o777].map((umask): Row => ({
    what: `a umask of ${umask.toString(8)}: whoever makes a database can use it, and nobody else`,
    steps: [
      puts(OWNER, { umask }),
      owned('600'),
      gets(OWNER),
      puts(OWNER),
      dies(OWNER),
      puts(OWNER),
      owned('600'),
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
    ],
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
  { what: "a write by root beside the owner's", steps: [writesOn(OWNER), dies(ROOT), puts(ROOT), owned('644')] },
  {
    what: "root makes a database in a directory of the owner's",
    steps: [{ sh: `mkdir $DB; chown ${OWNER.uid}:${OWNER.gid} $DB` }, puts(ROOT), owned('644'), puts(OWNER)],
  },
  {
    what: "root is killed while it makes a segment, before that is the owner's",
    steps: [
      dies(OWNER),
      {
        sh:
          'last=$(ls $DB/wal | grep -v spare | tail -1); size=$(stat -c %s $DB/wal/$last)\n' +
          'next=$(printf "%016x.wal" $((0x${last%.wal} + size - 64))); (umask 077; : > $DB/wal/$next)',
      },
      gets(OWNER),
      puts(OWNER),
    ],
  },
  {
    what: 'commands of root: put, load, verify, recover, stats',
    steps: [
      puts(OWNER),
      ...[['put', 'a', 'b'], ['load', '--ops', '2000', '--quiet'], ['verify'], ['recover'], ['stats']].map(
        (command): CommandStep => ({ as: ROOT, command, status: 0 }),
      ),
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
      dies(OWNER),
      owned(mode),
      dies(ROOT),
      owned(mode),
      puts(ROOT, { umask: 0 }),
      owned(mode),
      gets(ROOT),
      owned(mode),
      puts(OWNER),
      owned(mode),
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
    steps: [
      puts(OWNER),
      gets(OTHER),
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
      ...readsByCommands(OTHER),
      gets(MEMBER),
      owned('644'),
      puts(OWNER),
    ],
  },
  {
    what: 'another user reads what a crash left behind, and leaves it as it is',
    steps: [
      dies(OWNER),
      gets(OTHER),
      ...readsByCommands(OTHER),
      gets(OTHER, { options: { workers: 2 } }),
      owned('644'),
      puts(OWNER),
    ],
  },
  {
    what: 'files and directories that nobody may write to, closed or left by a crash',
    steps: [
      puts(OWNER),
      { sh: READ_ONLY },
      gets(OWNER),
      gets(OTHER),
      refused(OWNER, 'ERR_MMAPDB_PERMISSION'),
      { sh: 'chmod -R u+w $DB' },
      dies(OWNER),
      { sh: READ_ONLY },
      gets(OWNER),
      gets(OTHER),
    ],
  },
  {
    what: 'a directory that may not be written to, with files that may',
    steps: [puts(OWNER), { sh: 'chmod a-w $DB $DB/wal' }, gets(OWNER), refused(OWNER, 'ERR_MMAPDB_PERMISSION')],
  },
  {
    what: 'in a directory like /tmp, whoever may write the files and not replace them can read, alone and beside others',
    steps: [
      { sh: 'mkdir -m 1777 $DB' },
      puts(OWNER, { umask: 0 }),
      gets(OTHER),
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
      { ...dies(OWNER), umask: 0 },
      gets(OTHER),
      puts(OWNER),
      writesOn(OWNER),
      gets(OTHER),
    ],
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
      {
        as: OWNER,
        options: { segmentBytes: 4096, checkpointBytes: 65536 },
        gives: 'overwritten',
        does: `const db = await open(); for (let r = 0; r < 20; r++) { for (let i = 0; i < 100; i++) await db.put('n' + i, 'y'.repeat(200)); await db.checkpoint() }
               for (let i = 0; i < 100; i++) await db.del('n' + i); await db.close(); return 'overwritten'`,
      },
      puts(OWNER),
      dies(OWNER),
      puts(ROOT),
    ],
  },
  {
    what: 'another user reads while the owner writes, sees what is written, and stays when the owner goes',
    steps: [
      writesOn(OWNER),
      gets(OTHER),
      ...readsByCommands(OTHER).slice(0, -1),
      { as: OTHER, command: ['recover', '--dry-run'], status: 4 },
      {
        as: OTHER,
        goesOn: true,
        does: `const db = await open({ readOnly: true }); let seen = 0, last = 0
               while (!isOver()) {
                 await sleep(1)
                 if (db.get('key') !== 'value' || !db.has('key') || db.get('none') !== undefined) return 'wrong'
                 const { version } = db.getEntry('n1') ?? { version: 0 }
                 if (version < last) return 'backwards'
                 if (version > last && ++seen === 2) ready()
                 last = version
               }
               await db.close(); return 'undisturbed'`,
        gives: 'undisturbed',
      },
      refused(OTHER, 'ERR_MMAPDB_PERMISSION'),
      puts(ROOT),
      puts(OWNER),
    ],
  },
  ...[0, 2].map((workers): Row => ({
    what: `all that reads, by another user while the owner writes, ${workers} workers`,
    steps: [
      writesOn(OWNER),
      {
        as: OTHER,
        options: { workers },
        does: `const db = await open({ readOnly: true }), wrong = []
               const same = (what, got, wanted) => { if (JSON.stringify(got) !== JSON.stringify(wanted)) wrong.push([what, got, wanted]) }
               for (let round = 0; round < 40; round++) {
                 const snapshot = db.snapshot(), entries = [...snapshot.range()]
                 const keys = entries.map(([key]) => key), values = entries.map(([, value]) => value)
                 await sleep(2)
                 same('again', [...snapshot.range()], entries)
                 same('reverse', [...snapshot.range({ reverse: true })].reverse(), entries)
                 same('keys', [...snapshot.keys()], keys)
                 same('values', [...snapshot.values()], values)
                 same('count', snapshot.count(), entries.length)
                 same('one by one', keys.map((key) => snapshot.get(key)), values)
                 same('has', keys.every((key) => snapshot.has(key) && db.has(key)), true)
                 snapshot.close()
                 same('many', (await db.getMany(keys)).every((value) => typeof value === 'string'), true)
                 same('counted', (await db.countAsync()) >= entries.length && db.count() >= entries.length, true)
                 for (const [key, value] of db.range({ prefix: 'n', limit: 10 })) same('prefix', [key[0], typeof value], ['n', 'string'])
                 same('stats', db.stats().entries >= entries.length, true)
               }
               const report = await db.verify(); same('damage', report.damage, [])
               try { await db.put('a', 'b') } catch (error) { same('put', error.code, 'ERR_MMAPDB_READ_ONLY') }
               await db.close(); return wrong.slice(0, 3)`,
        gives: [],
      },
    ],
  })),
  {
    what: 'a reader who opened beside the owner reads on through the lives of owners, closed and killed',
    steps: [
      {
        as: OWNER,
        goesOn: true,
        does: `const db = await open(); await db.put('key', 'value'); ready(); await sleep(1500); await db.close(); return 'value'`,
        gives: 'value',
      },
      {
        as: OTHER,
        goesOn: true,
        does: `const db = await open({ readOnly: true }), snapshot = db.snapshot(), before = JSON.stringify([...snapshot.range()]); ready()
               while (!isOver()) { await sleep(2); if (db.get('key') !== 'value' || JSON.stringify([...snapshot.range()]) !== before) return 'changed' }
               const { ok } = await db.verify(); const seen = db.get('n1') !== undefined; await db.close(); return { ok, seen }`,
        gives: { ok: true, seen: true },
      },
      puts(OWNER),
      dies(OWNER),
      puts(OWNER),
      dies(ROOT),
      gets(ROOT),
      gets(MEMBER),
      puts(OWNER),
    ],
  },
  {
    what: 'a snapshot that nobody may end by hand is ended by maxHeldBytes',
    steps: [
      {
        as: OWNER,
        goesOn: true,
        options: { maxHeldBytes: 65536, checkpointBytes: 65536 },
        gives: true,
        does: `const db = await open(); for (let i = 0; i < 500; i++) await db.put(i, 'x'.repeat(300)); ready()
               while (!isOver()) { for (let i = 0; i < 500; i++) db.put(i, 'y'.repeat(300)); await db.put(1, 'z'); await sleep(1) }
               const { heldBytes } = db.stats().readers; await db.close(); return heldBytes < 2 ** 20`,
      },
      {
        as: OTHER,
        gives: 'ERR_MMAPDB_EXPIRED',
        does: `const db = await open({ readOnly: true }), snapshot = db.snapshot()
               for (let i = 0; i < 2000; i++) { await sleep(5); if (snapshot.count() !== 500) return 'wrong'; if (db.count() !== 500) return 'wrong, too' }
               return 'never'`,
      },
      {
        as: OTHER,
        does: `const db = await open({ readOnly: true }); const n = db.count(); await db.close(); return n`,
        gives: 500,
      },
    ],
  },
  {
    what: 'there is no database',
    steps: [
      gets(OTHER, { gives: 'ERR_MMAPDB_NOT_FOUND' }),
      { sh: 'mkdir $DB' },
      gets(OTHER, { gives: 'ERR_MMAPDB_NOT_FOUND' }),
      { sh: ': > $DB/data' },
      gets(OTHER, { gives: 'ERR_MMAPDB_NOT_FOUND' }),
    ],
  },
]

const mounts: Row[] = [
  {
    what: 'a read-only bind mount, by root and by another user, while the owner writes and while nobody does',
    needsRoot: true,
    steps: [
      puts(OWNER),
      { sh: 'mkdir $PLACE/view; mount --bind $PLACE $PLACE/view; mount -o remount,bind,ro $PLACE/view' },
      ...[ROOT, OTHER].map((as): Step =>
        gets(as, { does: GET.replace('readOnly: true }', "readOnly: true }, place + '/view/db'") }),
      ),
      writesOn(OWNER),
      ...[ROOT, OTHER].map((as): Step => ({
        as,
        gives: true,
        does: `const db = await open({ readOnly: true }, place + '/view/db'); const before = db.getEntry('n1')?.version ?? 0
               for (let i = 0; i < 1000; i++) { await sleep(5); if (db.get('key') !== 'value') return 'wrong'; if ((db.getEntry('n1')?.version ?? 0) > before) return (await db.verify()).ok }
               return 'nothing new'`,
      })),
      puts(OWNER),
    ],
  },
  {
    what: 'a file system that is mounted read-only, closed and left by a crash',
    tmpfs: 'size=64m',
    steps: [
      puts(OWNER),
      { sh: 'mount -o remount,ro $PLACE' },
      gets(OWNER),
      gets(ROOT),
      refused(ROOT, 'ERR_MMAPDB_READ_ONLY'),
      ...readsByCommands(OTHER),
      { sh: 'mount -o remount,rw $PLACE' },
      dies(OWNER),
      { sh: 'mount -o remount,ro $PLACE' },
      gets(OTHER),
      gets(ROOT),
    ],
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

const ROWS = `for (let i = 0; i < 200; i++) await db.put(i, 'x'.repeat(500)); for (let i = 0; i < 200; i++) if (db.get(i)?.length !== 500) return 'wrong'`

const limits: Row[] = [
  {
    what: 'few descriptors',
    steps: [
      {
        limits: { n: 128 },
        options: { workers: 1 },
        does: `const db = await open(); ${ROWS}; await db.close(); return 'done'`,
        gives: 'done',
      },
    ],
  },
  {
    what: 'no descriptor left: a typed error, and it works once there are some',
    steps: [
      {
        limits: { n: 128 },
        does: `await (await open()).close()
               const taken = []; try { for (;;) taken.push(fs.openSync('/dev/null')) } catch {}
               let code; try { await open() } catch (error) { code = error.code }
               for (const fd of taken) fs.closeSync(fd)
               const db = await open(); ${ROWS}; await db.close(); return code`,
        gives: 'ERR_MMAPDB_IO',
      },
    ],
  },
  {
    what: 'little address space',
    steps: [
      {
        limits: { v: 6_000_000 },
        does: `const db = await open(); ${ROWS}; await db.close(); return 'done'`,
        gives: 'done',
      },
    ],
  },
  {
    what: 'files that may not grow far: full, and readable',
    steps: [
      {
        limits: { f: 4096 },
        options: { segmentBytes: 65536, checkpointBytes: 65536 },
        does: `process.on('SIGXFSZ', () => undefined)
               const db = await open(); let n = 0, code
               try { for (; n < 5000; n++) await db.put(n, 'x'.repeat(900)) } catch (error) { code = error.code }
               for (let i = 0; i < n; i++) if (db.get(i) === undefined) return 'lost'
               await db.close().catch(() => undefined); return code`,
        gives: 'ERR_MMAPDB_FULL',
      },
      {
        does: `const db = await open(); const n = db.count(); const { ok } = await db.verify(); await db.put('key', 'value'); await db.close(); return ok && n > 100`,
        gives: true,
      },
    ],
  },
]

const READ = `const db = await open({ readOnly: true, workers: WORKERS }); const found = [db.count(), db.get(1499).length]; await db.close(); return found`

const disks: Row[] = [
  {
    what: 'the power took back what the data file had grown by, and others filled the disk: it can be read, and written when there is room',
    tmpfs: 'size=24m',
    steps: [
      {
        as: ROOT,
        options: { segmentBytes: 1 << 20 },
        does: `const db = await open(); for (let i = 0; i < 1500; i++) await db.put(i, 'x'.repeat(4000)); return 'dead'`,
        gives: 'dead',
      },
      { sh: 'truncate -s 1M $DB/data; dd if=/dev/zero of=$PLACE/theirs bs=4k 2>/dev/null || true' },
      ...[0, 2].map((workers) => ({ as: ROOT, does: READ.replace('WORKERS', String(workers)), gives: [1500, 4000] })),
      { as: ROOT, does: PUT, gives: 'ERR_MMAPDB_FULL' },
      { sh: 'rm $PLACE/theirs' },
      puts(ROOT),
      { as: ROOT, does: READ.replace('WORKERS', '0'), gives: [1501, 4000] },
    ],
  },
]

const links: Row[] = [
  {
    what: 'the directory is a symbolic link; wal is one to another place',
    steps: [
      { sh: 'mkdir real; ln -s real $DB' },
      puts(ROOT),
      { sh: 'mv real/wal elsewhere; ln -s $PLACE/elsewhere real/wal' },
      puts(ROOT),
      dies(ROOT),
      gets(ROOT),
      gets(OTHER),
    ],
  },
  {
    what: 'a link in the place of a file that root is about to make is not followed to give a file away',
    needsRoot: true,
    steps: [
      {
        sh: `mkdir $DB; chown ${OWNER.uid}:${OWNER.gid} $DB; : > $PLACE/roots; chmod 600 $PLACE/roots; ln -s $PLACE/roots $DB/control`,
      },
      puts(ROOT),
      {
        does: `const s = fs.statSync(place + '/roots'); return s.uid + ' ' + (s.mode & 0o777).toString(8) + ' ' + s.size`,
        gives: '0 600 0',
      },
    ],
  },
  {
    what: 'a relative path, from a directory that goes',
    steps: [
      { sh: 'mkdir here' },
      {
        in: 'here',
        does: `const db = await open({}, '../db'); fs.rmdirSync(place + '/here'); ${ROWS}; await db.close(); return 'done'`,
        gives: 'done',
      },
    ],
  },
  {
    what: 'a file system that runs no programs',
    tmpfs: 'size=64m,noexec,nosuid,nodev',
    steps: [puts(ROOT), dies(ROOT), gets(ROOT)],
  },
]

describeRows('limits', limits)
describeRows('full disks', disks)
describeRows('links and places', links)
