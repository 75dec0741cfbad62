import type { Route } from './http-listener.ts';

const json = [['content-type', 'application/json']] as const;

/** `/healthz`: the process runs. `/readyz`: it answers bids now; 503 while it starts, drains or has no model. */
export function healthRoutes(isReady: () => boolean): Route[] {
  return [
    {
      path: '/healthz',
      methods: ['GET'],
      handle: (_, respond) => respond(200, json, '{"status":"ok"}'),
    },
    {
      path: '/readyz',
      methods: ['GET'],
      handle: (_, respond) => {
        if (isReady()) respond(200, json, '{"status":"ready"}');
        else respond(503, json, '{"status":"not ready"}');
      },
    },
  ];
}
