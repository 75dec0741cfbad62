/** Users that both a writer and a reader can work out from their number. */
export const idsPerUser = 4;

export function userKey(user: number): string {
  return user % 10 === 0 ? `Nutzer-№${user}-😀` : `user-${user}`;
}

export function idsOfUser(user: number): number[] {
  return Array.from({ length: idsPerUser }, (_, place) => user * 10 + place + 1);
}
