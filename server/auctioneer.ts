import { AuctionDecider } from '#auction/auction-decision.ts';
import type { BudgetLedger } from '#auction/budget-ledger.ts';
import type { Catalog } from '#auction/catalog.ts';
import { expectedValueNanos } from '#auction/expected-value.ts';
import { mechanismNumbers } from '#auction/mechanisms.ts';
import type { PacingRates } from '#auction/pacing.ts';
import { type AuctionDraft, verdictBits } from '#training-bridge/event-records.ts';
import { flightCandidateMax } from './flight.ts';
import type { AuctionPort } from './pipeline-ports.ts';
import { counterIndex, type Telemetry } from './telemetry.ts';

/** How long a CPM bid holds its worst case when neither bill nor loss comes. */
export const reservationMs = 60_000;
/** `impReservation` of an imp that reserved nothing. */
export const noReservation = 0xffff_ffff;

const cpm = 0;

export type AuctioneerContext = {
  readonly catalog: Catalog;
  readonly ledger: BudgetLedger;
  readonly pacing: PacingRates;
  readonly telemetry: Telemetry;
  readonly now: () => number;
};

/** The auction floor as the pipeline sees it: who may compete, the decision, and what a win takes from a budget. One per serving thread. */
export class Auctioneer implements AuctionPort {
  readonly #context: AuctioneerContext;
  readonly #decider = new AuctionDecider({ candidateCapacity: flightCandidateMax });
  #draft: AuctionDraft | undefined;

  constructor(context: AuctioneerContext) {
    this.#context = context;
  }

  passingPacing(rows: Uint32Array, count: number, auctionHash: number, places: Uint32Array): number {
    const { pacing, catalog } = this.#context;
    return pacing.passing(rows, count, catalog.adLineItem, auctionHash, places);
  }

  decide(draft: AuctionDraft): void {
    draft.impReservation.fill(noReservation);
    draft.impReservedNanos.fill(0);
    // Who cannot pay for one more event does not compete. Where only the winner's own bid counts it is enough to ask the winner.
    const { mechanism } = draft;
    if (mechanism !== mechanismNumbers.bid && mechanism !== mechanismNumbers.first) {
      for (let index = 0; index < draft.candidateCount; index++) {
        if (!this.#canPay(draft, index)) draft.candidateVerdict[index]! |= verdictBits.budget;
      }
    }
    this.#draft = draft;
    this.#decider.decide(draft, this.#context.catalog.adAdvertiser, this.#onWin, this.#onLose);
    this.#draft = undefined;
  }

  #canPay(draft: AuctionDraft, candidate: number): boolean {
    const { catalog, ledger } = this.#context;
    return (
      ledger.spendableNanos(catalog.adLineItem[draft.candidateAdRow[candidate]!]!) >=
      draft.candidateBidNanos[candidate]!
    );
  }

  /** CPM holds its bid until bill or loss; CPC and CPA hold nothing, but what they will probably cost is kept in mind. */
  readonly #onWin = (imp: number, candidate: number): boolean => {
    const { catalog, ledger, telemetry, now } = this.#context;
    const draft = this.#draft!;
    if (!this.#canPay(draft, candidate)) {
      telemetry.count(counterIndex.budget_refused);
      return false;
    }
    // A test auction takes nothing from a budget.
    if (draft.test) return true;
    const lineItem = catalog.adLineItem[draft.candidateAdRow[candidate]!]!;
    const bidNanos = draft.candidateBidNanos[candidate]!;
    if (draft.candidatePriceType[candidate]! !== cpm) {
      ledger.expectSpend(lineItem, expectedOf(draft, candidate));
      return true;
    }
    const handle = ledger.reserve(lineItem, bidNanos, now() + reservationMs);
    if (handle < 0) {
      telemetry.count(counterIndex.budget_refused);
      return false;
    }
    draft.impReservation[imp] = handle;
    draft.impReservedNanos[imp] = bidNanos;
    return true;
  };

  readonly #onLose = (imp: number, candidate: number): void => this.#giveBack(this.#draft!, imp, candidate);

  giveBack(draft: AuctionDraft, imp: number): void {
    this.#giveBack(draft, imp, draft.impWinner[imp]!);
  }

  #giveBack(draft: AuctionDraft, imp: number, candidate: number): void {
    const { catalog, ledger } = this.#context;
    const handle = draft.impReservation[imp]!;
    if (handle !== noReservation) {
      ledger.release(handle, ledger.generationOf(handle));
      draft.impReservation[imp] = noReservation;
      draft.impReservedNanos[imp] = 0;
    } else if (candidate >= 0 && !draft.test && draft.candidatePriceType[candidate]! !== cpm) {
      ledger.unexpectSpend(catalog.adLineItem[draft.candidateAdRow[candidate]!]!, expectedOf(draft, candidate));
    }
  }
}

/** What an impression of a candidate is expected to bring, nanos: its bid, times the chances of what it pays for. */
export function expectedOf(draft: AuctionDraft, candidate: number): number {
  return expectedValueNanos(
    draft.candidateBidNanos[candidate]!,
    draft.candidatePriceType[candidate]!,
    draft.candidateClickQ30[candidate]!,
    draft.candidateConversionQ30[candidate]!,
  );
}
