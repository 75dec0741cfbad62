/** Base address of a listener of ours. An IPv6 address stands in brackets there: its colons would be read as the port's. */
export function urlOf(host: string, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Whether a host means every address of the machine: one may listen there, but nobody can be sent there. */
export function isWildcard(host: string): boolean {
  return /^(?:0(?:\.0){0,3}|[0:]*:[0:]*)$/u.test(host);
}
