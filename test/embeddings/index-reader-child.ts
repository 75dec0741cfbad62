import { parentPort, workerData } from 'node:worker_threads';
import { SharedUserTable, type UserTableShared } from '#embeddings/shared-user-table.ts';
import { idsOfUser, userKey } from './numbered-users.ts';

// Reads users while another thread adds them: whoever is found must be whole, and the first ones must stay found.
const { shared, userCount } = workerData as { shared: UserTableShared; userCount: number };
const table = new SharedUserTable(shared);
const problems: string[] = [];
let found = 0;
let looked = 0;
let known = 0;
parentPort!.postMessage('ready');
while (known < userCount && problems.length < 5) {
  known = table.userCount;
  for (let user = 1; user <= userCount; user += 1 + (looked % 7)) {
    looked++;
    const row = table.rowOf(userKey(user));
    if (row === 0) {
      if (user <= known) problems.push(`user ${user} of ${known} is not found`);
      continue;
    }
    found++;
    if (row !== user) problems.push(`user ${user} is in row ${row}`);
    const ids = table.idsOf(row);
    if (idsOfUser(user).some((id, place) => ids[place] !== id)) problems.push(`user ${user} is half written`);
  }
}
parentPort!.postMessage({ problems, found });
