/** How well probabilities foretold outcomes. */
export type Quality = {
  readonly rows: number;
  readonly hits: number;
  readonly auc: number;
  /** Mean negative log likelihood, nats per row. */
  readonly logLoss: number;
  /** Relative information gain: 1 − log loss ÷ that of the base rate. */
  readonly rig: number;
  /** Σ probability ÷ Σ outcome, and its 95 % interval. */
  readonly ratio: number;
  readonly ratioLow: number;
  readonly ratioHigh: number;
};

/** Probabilities against 0/1 outcomes. Weights count rows in everything but the AUC. */
export function qualityOf(
  probabilities: ArrayLike<number>,
  outcomes: ArrayLike<number>,
  weights?: ArrayLike<number>,
): Quality {
  const count = probabilities.length;
  let weightSum = 0;
  let hits = 0;
  let expected = 0;
  let variance = 0;
  let loss = 0;
  for (let row = 0; row < count; row++) {
    const p = Math.min(1 - 1e-12, Math.max(1e-12, probabilities[row]!));
    const outcome = outcomes[row]!;
    const weight = weights?.[row] ?? 1;
    weightSum += weight;
    hits += weight * outcome;
    expected += weight * p;
    variance += weight * weight * p * (1 - p);
    loss -= weight * Math.log(outcome === 1 ? p : 1 - p);
  }
  const base = hits / weightSum;
  const baseLoss = base > 0 && base < 1 ? -(base * Math.log(base) + (1 - base) * Math.log(1 - base)) : Number.NaN;
  const ratio = expected / hits;
  // The number of hits is what chance moves: were the probabilities right, by this share, twice the root of Σ p(1 − p).
  const spread = Math.exp((normal95 * Math.sqrt(variance)) / Math.max(hits, 1));
  return {
    rows: count,
    hits,
    auc: areaUnderCurve(probabilities, outcomes),
    logLoss: loss / weightSum,
    rig: 1 - loss / weightSum / baseLoss,
    ratio,
    ratioLow: ratio / spread,
    ratioHigh: ratio * spread,
  };
}

const normal95 = 1.96;

/** Area under the ROC curve; ties count half. NaN when only one outcome occurs. */
export function areaUnderCurve(scores: ArrayLike<number>, outcomes: ArrayLike<number>): number {
  const order = rowsByScore(scores);
  let hits = 0;
  let rankSum = 0;
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to < order.length && scores[order[to]!] === scores[order[from]!]) to++;
    for (let at = from; at < to; at++) {
      if (outcomes[order[at]!] !== 1) continue;
      hits++;
      rankSum += (from + 1 + to) / 2;
    }
    from = to;
  }
  return (rankSum - (hits * (hits + 1)) / 2) / (hits * (order.length - hits));
}

/** Row numbers, lowest score first; equal scores keep their order. */
export function rowsByScore(scores: ArrayLike<number>): Uint32Array {
  return Uint32Array.from({ length: scores.length }, (_, row) => row).sort(
    (left, right) => scores[left]! - scores[right]! || left - right,
  );
}
