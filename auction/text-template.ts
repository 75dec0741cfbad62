/**
 * URLs of one advertiser differ in little: the creative's id, the domain. Kept with placeholders, one text serves thousands of
 * creatives: `https://cdn.DOMAIN/ID.jpg` costs a reference of 4 bytes instead of 40 bytes of text.
 */
const idMark = '\u0001';
const domainMark = '\u0002';

/** The text with the creative's id and domain taken out. Short ids would be found by chance in the middle of a word. */
export function toTemplate(text: string, id: string, domain: string): string {
  if (text.includes(idMark) || text.includes(domainMark)) return text;
  const withoutDomain = domain === '' ? text : text.replaceAll(domain, domainMark);
  return id.length < 4 ? withoutDomain : withoutDomain.replaceAll(id, idMark);
}

export function fromTemplate(template: string, id: string, domain: string): string {
  return template.replaceAll(idMark, () => id).replaceAll(domainMark, () => domain);
}
