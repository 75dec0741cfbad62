/**
 * Epoch milliseconds with a fraction, which never step back while the process lives and agree between its threads: one
 * deadline can be made in a serving thread and read in a scoring thread. A wall clock that jumps does not move it.
 */
export const monotonicNowMs = (): number => originMs + performance.now();

/** Read once: the property is a function of its own, and the clock is asked twenty times a request. */
const originMs = performance.timeOrigin;
