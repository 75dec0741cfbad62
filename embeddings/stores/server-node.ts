/** A server of a store, as its address names it. */
export type ServerNode = { readonly host: string; readonly port: number };

/** Wait before the first new attempt to connect; doubles with each, up to the most; the half of it is chance. */
export type ReconnectLimits = { readonly reconnectMsMin: number; readonly reconnectMsMax: number };

/** `host:port`, an IPv6 address in brackets. */
export function nodeName({ host, port }: ServerNode): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Wait before attempt `attempt` (from 1): exponential, half of it by chance so that a fleet does not come back all at once. */
export function reconnectWaitMs(attempt: number, limits: ReconnectLimits, random: () => number): number {
  const whole = Math.min(limits.reconnectMsMin * 2 ** Math.min(attempt - 1, 30), limits.reconnectMsMax);
  return Math.ceil(whole / 2 + (whole / 2) * random());
}
