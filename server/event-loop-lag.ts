import { gaugeIndex, lagSeries, type Telemetry } from './telemetry.ts';

/** Often enough to see a stall of a few milliseconds, rare enough to cost nothing (100 timers a second: 0.1 % of a core). */
const periodMs = 10;

/**
 * How late a timer of this thread comes: a blocked event loop is an outage, so it is measured like a latency. The gauge holds
 * the latest reading, which the load ladder adds to each request's wait: what waits in the kernel has no other clock.
 */
export class EventLoopLag {
  readonly #timer: NodeJS.Timeout;
  #dueMs = performance.now() + periodMs;

  constructor(telemetry: Telemetry) {
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      // Timers go by whole milliseconds: what is below one is not lag.
      const lagMs = Math.max(0, nowMs - this.#dueMs - 1);
      this.#dueMs = nowMs + periodMs;
      telemetry.record(lagSeries, lagMs);
      telemetry.gauge(gaugeIndex.event_loop_lag_ms, lagMs);
    }, periodMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
