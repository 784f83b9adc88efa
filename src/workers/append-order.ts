// The order in which frames of one Database are appended: a counter that its workers share.

export const nextTicket = (ticket: number): number => (ticket + 1) | 0

/** Lets the frame behind `ticket` be appended if `ticket` was the next; true unless it is still to come. */
export function passTicket(order: Int32Array, ticket: number): boolean {
  const next = Atomics.compareExchange(order, 0, ticket, nextTicket(ticket))
  if (next === ticket) Atomics.notify(order, 0)
  return ((next - ticket) | 0) >= 0
}
