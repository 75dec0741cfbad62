import { gzipSync } from 'node:zlib';
import type { HttpRequest } from '#server/http-listener.ts';
import { parseBidRequest } from '#server/openrtb-request.ts';
import { requestBody } from '#server/request-body.ts';
import { type Bench, type BenchMode, type BenchReport, median } from '../support/bench.ts';
import { bidBodies, smokeDemo } from '../support/bid-load.ts';

const options = { defaultAuctionType: 2, userIdFields: ['buyeruid', 'id'], isSecureByDefault: false } as const;
const bodyCount = 512;

/** Microseconds per body: the median of several rounds over all bodies, after one that warms up. */
function microsPerBody(bodies: readonly Uint8Array[], rounds: number, run: (body: Uint8Array) => number): number {
  let checksum = 0;
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const startedMs = performance.now();
    for (const body of bodies) checksum += run(body);
    if (round > 0) times.push(((performance.now() - startedMs) * 1000) / bodies.length);
  }
  if (!(checksum > 0)) throw new Error('nothing was read');
  return median(times);
}

async function runBench(mode: BenchMode): Promise<BenchReport> {
  const rounds = mode === 'full' ? 60 : 3;
  const bodies = bidBodies(smokeDemo, bodyCount, 5);
  const zipped = bodies.map((body) => gzipSync(body));
  const json = microsPerBody(bodies, rounds, (body) => {
    const parsed = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')) as {
      imp: unknown[];
    };
    return parsed.imp.length;
  });
  const whole = microsPerBody(bodies, rounds, (body) => {
    const request = parseBidRequest(body, options);
    return request.kind === 'request' ? request.imps.length : 0;
  });
  const unzipped = microsPerBody(zipped, rounds, (body) => {
    const read = requestBody({ body, header: () => 'gzip' } as unknown as HttpRequest, 262_144);
    return read.kind === 'body' ? read.bytes.length : 0;
  });
  return {
    bench: 'parse',
    value: Number(whole.toPrecision(3)),
    unit: 'µs/request',
    better: 'lower',
    figures: {
      jsonParseMicros: Number(json.toPrecision(3)),
      ourShareMicros: Number((whole - json).toPrecision(3)),
      timesJsonParse: Number((whole / json).toPrecision(3)),
      gunzipMicros: Number(unzipped.toPrecision(3)),
      bodyBytes: Math.round(bodies.reduce((sum, body) => sum + body.length, 0) / bodies.length),
      bodies: bodies.length,
      rounds,
    },
  };
}

export const bench: Bench = {
  name: 'parse',
  about: 'microseconds from body to bid request, against JSON.parse of the same body alone',
  run: runBench,
};
