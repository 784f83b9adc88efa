/** A store, or what it is to do, is not there in this installation: its row is left out, with the reason. */
export class Unavailable extends Error {
  name = 'Unavailable'
}
