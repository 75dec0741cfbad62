/** Rows of which a torn one is recognised: every number follows from the first. */
export function markedRow(mark: number, target: Float32Array): void {
  for (let place = 0; place < target.length; place++) target[place] = mark * 64 + place;
}

/** The mark of a whole row; −1 when its numbers do not belong together. */
export function markOf(row: Float32Array): number {
  const mark = row[0]! / 64;
  for (let place = 1; place < row.length; place++) if (row[place] !== mark * 64 + place) return -1;
  return mark;
}

/** Whole numbers up to here, times 64, are exact in float32. */
export const markMax = 2 ** 17;
