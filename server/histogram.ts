/**
 * Latency histogram over shared memory: 8 buckets per octave from 1 µs to 67 s, so a reading is within 6 % of the truth.
 * One writer, any readers; a reader may be a few counts behind, never wrong by a bucket.
 */
export const histogramBucketCount = 26 * 8;

/** Lower edge of a bucket in microseconds. */
export function bucketFloorUs(bucket: number): number {
  return 2 ** (bucket >> 3) * (1 + (bucket & 7) / 8);
}

/** Bucket of a duration; what is below 1 µs or not a number lands in the first, what is beyond the range in the last. */
export function bucketOf(durationUs: number): number {
  if (!(durationUs >= 1)) return 0;
  const octave = Math.min(25, 31 - Math.clz32(durationUs));
  // A shift, since powers are a call (90 ns): octaves end at 25.
  const within = Math.floor((durationUs / (1 << octave) - 1) * 8);
  return Math.min(histogramBucketCount - 1, octave * 8 + Math.min(7, within));
}

/** Value below which a share of the counts lies, in microseconds, read at the middle of its bucket; NaN when empty. */
export function quantileUs(counts: ArrayLike<number>, share: number): number {
  let total = 0;
  for (let bucket = 0; bucket < histogramBucketCount; bucket++) total += counts[bucket]!;
  if (total === 0) return Number.NaN;
  const wanted = Math.max(1, Math.ceil(total * share));
  let seen = 0;
  for (let bucket = 0; bucket < histogramBucketCount; bucket++) {
    seen += counts[bucket]!;
    if (seen >= wanted) return (bucketFloorUs(bucket) + bucketFloorUs(bucket + 1)) / 2;
  }
  return bucketFloorUs(histogramBucketCount);
}
