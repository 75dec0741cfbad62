/** The columns of the catalog that worth is made of: see auction/catalog.ts. */
export type WorthColumns = {
  readonly lineItemCount: number;
  /** Odd while a change is being written; raised by two with each. */
  readonly sequence: number;
  readonly liPriceType: Uint8Array;
  readonly liBidNanos: Float64Array;
  readonly liQualityQ30: Uint32Array;
  readonly liPriorClickQ30: Uint32Array;
  readonly liPriorConversionQ30: Uint32Array;
};

const q30One = 2 ** 30;
const cpm = 0;
const cpa = 2;
/** A prior of 0 or 1 is as good as one in a billion, or all but. */
const logitMax = 20;

/** Places of one line item's numbers. */
export const worthPlaces = { worth: 0, perClick: 1, priorLogit: 2, width: 3 } as const;

/**
 * What choosing candidates asks of line items, worked out once per change of the catalog instead of for 2,000 ads a request:
 * `worth` = bid × quality (× the prior chance of a conversion for CPA), in one unit for all; `perClick` 1 where the click
 * probability multiplies it, 0 for CPM; `priorLogit` of the click, for the rung without a ranker. One per serving thread.
 */
export class LineItemWorth {
  readonly #columns: WorthColumns;
  #numbers = new Float32Array(0);
  #sequence = -1;

  constructor(columns: WorthColumns) {
    this.#columns = columns;
  }

  /** Three numbers per line item, as the catalog is now. */
  numbers(): Float32Array {
    const { sequence } = this.#columns;
    if (sequence !== this.#sequence) {
      this.#fill();
      // What was read while a change was written is read again by the next request.
      this.#sequence = sequence % 2 === 0 && this.#columns.sequence === sequence ? sequence : -1;
    }
    return this.#numbers;
  }

  #fill(): void {
    const { lineItemCount, liPriceType, liBidNanos, liQualityQ30, liPriorClickQ30, liPriorConversionQ30 } =
      this.#columns;
    const { width, worth, perClick, priorLogit } = worthPlaces;
    if (this.#numbers.length < lineItemCount * width) this.#numbers = new Float32Array(2 * lineItemCount * width);
    for (let lineItem = 0; lineItem < lineItemCount; lineItem++) {
      const at = lineItem * width;
      const priceType = liPriceType[lineItem]!;
      const conversion = priceType === cpa ? liPriorConversionQ30[lineItem]! / q30One : 1;
      const click = liPriorClickQ30[lineItem]! / q30One;
      this.#numbers[at + worth] = liBidNanos[lineItem]! * (liQualityQ30[lineItem]! / q30One) * conversion;
      this.#numbers[at + perClick] = priceType === cpm ? 0 : 1;
      this.#numbers[at + priorLogit] = Math.max(-logitMax, Math.min(logitMax, Math.log(click / (1 - click))));
    }
  }
}
