// Writing a header into its two slots.
import { crashPoint } from '../../crash-points.js'
import { flushed } from '../../wal/flush.js'
import { encodeHeader, headerSlots, type Header } from './header.js'
import type { SlotSpace } from './slot-space.js'

/** Writes a checkpoint's header into its two slots and flushes. Everything that it names must be on disk before. */
export function writeHeaders(space: SlotSpace, header: Header): void {
  const [first, second] = headerSlots(header.checkpointNumber)
  copyHeader(space, header, first)
  crashPoint('between-headers')
  copyHeader(space, header, second)
  flushed('Flushing the headers', () => space.region.flush())
}

function copyHeader(space: SlotSpace, header: Header, slot: number): void {
  space.u8[space.windowOf(slot)]!.set(encodeHeader(header, slot), space.byteOf(slot))
}
