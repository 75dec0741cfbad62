import type { BidRequest } from './bid-request.ts';
import type { Flight } from './flight.ts';
import type { ServingModel } from './pipeline-ports.ts';

/** Fills the flight's context ids for one imp: its size is part of the context, so ids and request vector are made per imp. */
export function contextOf(flight: Flight, impIndex: number, model: ServingModel): void {
  flight.words.size = sizeWordOf(flight.request!, impIndex);
  model.vocabulary.idsInto(flight.words, flight.contextIds);
}

/** The size word of an imp as the model knows it: its first banner size, else its kind. */
function sizeWordOf(request: BidRequest, impIndex: number): string {
  const imp = request.imps[impIndex]!;
  const size = imp.banner?.sizes[0];
  if (size !== undefined) return sizeWord(size.width, size.height);
  return imp.video !== undefined ? 'video' : imp.native !== undefined ? 'native' : '';
}

const sizeWords = new Map<number, string>();
/** Bounded: a caller that sends every size there is does not fill the memory. */
const sizeWordCountMax = 4096;

export function sizeWord(width: number, height: number): string {
  const key = width * 65_536 + height;
  let word = sizeWords.get(key);
  if (word === undefined) {
    word = `banner:${width}x${height}`;
    if (sizeWords.size < sizeWordCountMax) sizeWords.set(key, word);
  }
  return word;
}
