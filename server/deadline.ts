/**
 * When the answer to a request must be on its way: counted from the first byte of its head, less what the way back takes. Made
 * once per request and handed on as a number; nobody further in makes another.
 */
export function answerDeadlineMs(arrivalMs: number, tmaxMs: number, safetyMs: number): number {
  return arrivalMs + Math.max(0, tmaxMs - safetyMs);
}

/** A lookup gets a third of what is left of the deadline at most: two thirds of the work come after it. */
export const lookupShareMax = 1 / 3;
