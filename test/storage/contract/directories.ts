// Directories: what is in them, renamed, removed and reached through them.
import { expect } from 'chai'
import { expectCode, Place, type Test, type TestWith } from './setting.js'

export function directories(test: Test, testWith: TestWith): void {
  directoriesHaveEntries(test)
  entriesAreRenamedAndRemoved(test, testWith)
  directoriesAreHeld(test, testWith)
}

function directoriesHaveEntries(test: Test): void {
  test('are made, once or twice, where their parent is there', (place) => {
    const { storage } = place
    for (let round = 0; round < 2; round++) storage.makeDirectory(place.at('db'))
    expect(place.kindOf(place.at('db'))).to.equal('directory')
    storage.makeDirectory(place.at('db', 'wal'))
    expectCode(() => storage.makeDirectory(place.at('none', 'wal')), 'ENOENT')
    place.write(place.at('file'), '')
    expectCode(() => storage.makeDirectory(place.at('file')), 'EEXIST')
    storage.flushDirectory(place.directory)
    storage.flushDirectory(place.at('db'))
  })

  test('list their files and directories, not what is in these', (place) => {
    const { storage, directory } = place
    place.write(place.at('a'), '')
    storage.makeDirectory(place.at('b'))
    expect(storage.list(place.at('b'))).to.deep.equal([])
    place.write(place.at('b', 'c'), '')
    expect(storage.list(directory).sort()).to.deep.equal(['a', 'b'])
    expect(storage.list(place.at('b'))).to.deep.equal(['c'])
    expectCode(() => storage.list(place.at('none')), 'ENOENT')
    expectCode(() => storage.list(place.at('a')), 'ENOTDIR')
  })

  test('are flushed if they are there', (place) => {
    place.write(place.at('file'), '')
    expectCode(() => place.storage.flushDirectory(place.at('none')), 'ENOENT')
    expectCode(() => place.storage.flushDirectory(place.at('file')), 'ENOTDIR')
  })

  test('say what lies at a path', (place) => {
    place.write(place.at('file'), 'four')
    expect(place.storage.info(place.at('file'))).to.include({ kind: 'file', sizeBytes: 4 })
    expect(place.kindOf(place.directory)).to.equal('directory')
    for (const path of [place.at('none'), place.at('none', 'file'), place.at('file', 'below')])
      expect(place.storage.info(path)).to.deep.equal({ kind: 'missing', sizeBytes: 0 })
  })

  test('say whether they, and what is in them, may be trusted and written', (place) => {
    const { storage, directory } = place
    place.write(place.at('file'), '')
    expect(storage.fileSystem(directory)).to.include({ networked: false, readOnly: false })
    for (const path of [directory, place.at('file')]) expect(storage.mayWrite(path)).to.equal(true)
    expect(storage.fitsIn(place.at('file'), place.at('file'))).to.equal(true)
    expectCode(() => storage.fileSystem(place.at('none')), 'ENOENT')
    expectCode(() => storage.mayWrite(place.at('none')), 'ENOENT')
    expectCode(() => storage.fitsIn(place.at('none'), place.at('file')), 'ENOENT')
  })
}

function entriesAreRenamedAndRemoved(test: Test, testWith: TestWith): void {
  test('have their files renamed, in place of others', (place) => {
    const { storage, directory } = place
    place.write(place.at('from'), 'new')
    place.write(place.at('to'), 'old')
    storage.rename(place.at('from'), place.at('to'))
    storage.flushDirectory(directory)
    expect(storage.list(directory)).to.deep.equal(['to'])
    expect(place.read(place.at('to'))).to.equal('new')
    storage.rename(place.at('to'), place.at('to'))
    expect(place.read(place.at('to')), 'after a change to the same name').to.equal('new')
    expectCode(() => storage.rename(place.at('from'), place.at('to')), 'ENOENT')
    expect(place.read(place.at('to'))).to.equal('new')
  })

  test('are renamed with what is in them', (place) => {
    const { storage, directory } = place
    storage.makeDirectory(place.at('one'))
    storage.makeDirectory(place.at('one', 'inside'))
    place.write(place.at('one', 'file'), 'moved')
    place.write(place.at('one', 'inside', 'file'), 'too')
    storage.rename(place.at('one'), place.at('two'))
    expect(storage.list(directory)).to.deep.equal(['two'])
    expect(place.read(place.at('two', 'file'))).to.equal('moved')
    expect(place.read(place.at('two', 'inside', 'file'))).to.equal('too')
    expect(place.kindOf(place.at('one', 'inside'))).to.equal('missing')
  })

  test('are removed if they are empty', (place) => {
    const { storage, directory } = place
    storage.makeDirectory(place.at('db'))
    place.write(place.at('db', 'file'), '')
    expectCode(() => storage.removeDirectory(place.at('db')), 'ENOTEMPTY')
    storage.unlink(place.at('db', 'file'))
    storage.removeDirectory(place.at('db'))
    expect(storage.list(directory)).to.deep.equal([])
    expectCode(() => storage.removeDirectory(place.at('db')), 'ENOENT')
    place.write(place.at('file'), '')
    expectCode(() => storage.removeDirectory(place.at('file')), 'ENOTDIR')
  })

  testWith('renames anything')('have files moved to others, and directories renamed with what is in them', (place) => {
    const { storage, directory } = place
    storage.makeDirectory(place.at('one'))
    place.write(place.at('file'), 'moved')
    storage.rename(place.at('file'), place.at('one', 'file'))
    storage.rename(place.at('one'), place.at('two'))
    expect(storage.list(directory)).to.deep.equal(['two'])
    expect(place.read(place.at('two', 'file'))).to.equal('moved')
  })

  test('have their files removed', (place) => {
    const { storage, directory } = place
    place.write(place.at('file'), '')
    storage.unlink(place.at('file'))
    expect(storage.list(directory)).to.deep.equal([])
    expectCode(() => storage.unlink(place.at('file')), 'ENOENT')
    storage.makeDirectory(place.at('db'))
    expectCode(() => storage.unlink(place.at('db')), 'EISDIR')
  })
}

function directoriesAreHeld(test: Test, testWith: TestWith): void {
  test('that are held are reached under the path they were opened by', (place) => {
    place.write(place.at('file'), 'there')
    const held = place.storage.openDirectory(place.directory)
    const again = place.storage.openDirectory(place.directory)
    expect(again.identity).to.deep.equal(held.identity)
    const inside = new Place(held.storage, place.directory)
    expect(held.storage.list(place.directory)).to.deep.equal(['file'])
    expect(inside.read(place.at('file'))).to.equal('there')
    inside.write(place.at('other'), 'made')
    expect(place.read(place.at('other'))).to.equal('made')
    const file = held.storage.openFile(place.at('other'), 'read')
    expect(held.storage.leadsTo(place.at('other'), file.identity())).to.equal(true)
    expect(held.storage.leadsTo(place.at('file'), file.identity())).to.equal(false)
    again.close()
    held.close()
    held.close()
    expect(file.sizeBytes(), 'what was opened in it').to.equal(4)
    file.close()
  })

  test('that are not there are not held', (place) => {
    place.write(place.at('file'), '')
    expectCode(() => place.storage.openDirectory(place.at('none')), 'ENOENT')
    expectCode(() => place.storage.openDirectory(place.at('file')), 'ENOTDIR')
  })

  testWith('holds directories')('that are held are reached under whatever name, and joined by identity', (place) => {
    const { storage } = place
    storage.makeDirectory(place.at('db'))
    place.write(place.at('db', 'file'), 'held')
    const held = storage.openDirectory(place.at('db'))
    storage.rename(place.at('db'), place.at('moved'))
    expect(new Place(held.storage, place.at('db')).read(place.at('db', 'file'))).to.equal('held')
    const joined = storage.openDirectory(place.at('db'), held.identity)
    held.close()
    expect(new Place(joined.storage, place.at('db')).read(place.at('db', 'file'))).to.equal('held')
    joined.close()
    expectCode(() => storage.openDirectory(place.at('moved'), held.identity), 'ENOENT')
  })
}
