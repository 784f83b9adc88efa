// SIGINT and SIGTERM for commands that take back, or leave whole, what they have done when they are interrupted.
import { Ended, EXIT } from './failure.js'

/** Runs `act` with a signal that SIGINT and SIGTERM abort. If they did, it ends the command with its exit code. */
export async function interruptible<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopped = new AbortController()
  const onSignal = (): void => {
    if (stopped.signal.aborted) process.exit(EXIT.INTERRUPTED)
    stopped.abort(new Ended(EXIT.INTERRUPTED))
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, onSignal)
  try {
    return await act(stopped.signal)
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal)
  }
}
