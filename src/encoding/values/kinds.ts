// What kind of thing a value is, by its internals and not by `instanceof`. So values of other
// realms (vm contexts, test runners) count as what they are, and subclasses do not pass for their parents.
import types from 'node:util/types'
import { inspect } from 'node:util'

const nativeSource = /^function (\w+)\(\) \{ \[native code\] \}$/

/**
 * The name of the built-in class that `prototype` belongs to, in any realm; undefined if it belongs to no built-in
 * class.
 */
export function builtInName(prototype: object): string | undefined {
  const constructor: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value
  return typeof constructor === 'function'
    ? nativeSource.exec(Function.prototype.toString.call(constructor))?.[1]
    : undefined
}

/** True if `value` is of the built-in class `name` itself, not of a subclass. */
const isExactly = (value: object, name: string): boolean => {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype !== null && builtInName(prototype) === name
}

/** True for `Object.prototype` of another realm. */
export const isForeignObjectPrototype = (prototype: object): boolean =>
  Object.getPrototypeOf(prototype) === null && builtInName(prototype) === 'Object'

/** False for what has the prototype of a plain object but is not one: `arguments`, Math, a module. */
export const isPlainWithin = (value: object): boolean =>
  Object.prototype.toString.call(value) === '[object Object]' && !hasContents(value)

/** True for what keeps its contents where no field shows them, even if it was given another prototype. */
const hasContents = (value: object): boolean =>
  types.isMap(value) ||
  types.isSet(value) ||
  types.isPromise(value) ||
  types.isWeakMap(value) ||
  types.isWeakSet(value) ||
  types.isArrayBufferView(value) ||
  types.isAnyArrayBuffer(value)

/**
 * True if an array or typed array has fields of its own besides its elements. Listing all keys costs as much
 * as storing the elements. The only function that looks at the other fields alone, at the same cost for any number of
 * elements, is inside `inspect`, which is asked to show no elements. For few elements the names are counted. Fields
 * of such an array that are named by symbols are not noticed, since looking for them costs as much again.
 */
export function hasNamedFields(list: readonly unknown[] | NodeJS.TypedArray): boolean {
  if (list.length <= FEW_ELEMENTS) return Object.keys(list).length > list.length
  const shown = inspect(list, NO_ELEMENTS)
  return !shown.endsWith(` ${list.length} more items ]`)
}
const FEW_ELEMENTS = 64
const NO_ELEMENTS = {
  maxArrayLength: 0,
  customInspect: false,
  showHidden: false,
  compact: 3,
  breakLength: 128,
} as const

/** The name of a value in a message: `a function`, `a Promise`, `an instance of Registry`. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  try {
    return describeObject(value)
  } catch {
    // A proxy may throw when it is asked.
    return 'an object'
  }
}

function describeObject(value: object): string {
  if (Array.isArray(value) && isExactly(value, 'Array')) return 'an array'
  if (types.isBoxedPrimitive(value)) return 'a boxed primitive'
  if (types.isArgumentsObject(value)) return 'an arguments object'
  if (types.isModuleNamespaceObject(value)) return 'a module'
  const prototype = Object.getPrototypeOf(value) as object | null
  if (prototype === null) return 'an object without a prototype'
  if (prototype === Object.prototype)
    return isPlainWithin(value)
      ? 'an object'
      : `an object of the kind ${Object.prototype.toString.call(value).slice(8, -1)}`
  const builtIn = builtInName(prototype)
  if (builtIn !== undefined) return `${/^[AEIO]/.test(builtIn) ? 'an' : 'a'} ${builtIn}`
  const constructor: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value
  const name: unknown =
    typeof constructor === 'function' ? Object.getOwnPropertyDescriptor(constructor, 'name')?.value : undefined
  return typeof name === 'string' && name !== '' ? `an instance of ${name}` : 'an instance of a class'
}
