// A storage whose clocks a test sets: the system's, back and forth, and the monotonic one, forward only.
import { posixStorage } from '../../src/storage/posix.js'
import type { FileIdentity, HeldDirectory, Storage } from '../../src/storage/storage.js'

export class TestClock {
  systemMs = 1_700_000_000_000
  monotonicMs = 5000

  /** Time passes. */
  pass(ms: number): void {
    this.systemMs += ms
    this.monotonicMs += ms
  }
  /** The system's clock is set. */
  jump(byMs: number): void {
    this.systemMs += byMs
  }
  /** The machine is started again. */
  restart(): void {
    this.monotonicMs = 1
  }

  storage(inner: Storage = posixStorage): Storage {
    const own: Partial<Storage> = {
      now: () => this.systemMs,
      monotonicMs: () => this.monotonicMs,
      openDirectory: (path: string, expected?: FileIdentity): HeldDirectory => {
        const held = inner.openDirectory(path, expected)
        return { storage: this.storage(held.storage), identity: held.identity, close: () => held.close() }
      },
    }
    return new Proxy(inner, {
      get(target, name) {
        const value: unknown = own[name as keyof Storage] ?? target[name as keyof Storage]
        return typeof value === 'function' && !(name in own) ? (value.bind(target) as unknown) : value
      },
    })
  }
}
