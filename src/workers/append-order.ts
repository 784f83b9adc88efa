// The order in which frames of one Database are appended: a counter that its workers share.

export const nextTicket = (ticket: number): number => (ticket + 1) | 0

/** True if the turn of `ticket` is over, where it is the turn of `now`. */
export const hasPassed = (now: number, ticket: number): boolean => ((now - ticket) | 0) > 0

/** If it is the turn of `ticket`, passes the turn to the ticket after it. False if its turn is still to come. */
export function passTicket(order: Int32Array, ticket: number): boolean {
  const next = Atomics.compareExchange(order, 0, ticket, nextTicket(ticket))
  if (next === ticket) Atomics.notify(order, 0)
  return ((next - ticket) | 0) >= 0
}
