/** An auction's id as everybody outside the process sees it: 16 hexadecimal digits. */
export function auctionIdText(high: number, low: number): string {
  return (high >>> 0).toString(16).padStart(8, '0') + (low >>> 0).toString(16).padStart(8, '0');
}

/** The two halves of an id's text, or undefined when it is not one. */
export function auctionIdHalves(text: string): { high: number; low: number } | undefined {
  if (!/^[0-9a-f]{16}$/u.test(text)) return undefined;
  return { high: Number.parseInt(text.slice(0, 8), 16), low: Number.parseInt(text.slice(8), 16) };
}
