/** Area under the ROC curve of scores against 0/1 outcomes; ties count half. NaN when only one outcome occurs. */
export function areaUnderCurve(scores: Float32Array, outcomes: Uint8Array): number {
  const order = Uint32Array.from(scores.keys()).sort((left, right) => scores[left]! - scores[right]!);
  let positives = 0;
  let rankSum = 0;
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to < order.length && scores[order[to]!] === scores[order[from]!]) to += 1;
    for (let at = from; at < to; at += 1) {
      if (outcomes[order[at]!] === 1) {
        positives += 1;
        rankSum += (from + 1 + to) / 2;
      }
    }
    from = to;
  }
  const negatives = order.length - positives;
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}
