import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';

export type ProxyTarget = { readonly host: string; readonly port: number };

/** A client, the server behind it, and what goes between them in order. */
type Link = { readonly client: Socket; readonly server: Socket; readonly waiting: { dueMs: number; piece: Buffer }[] };

/**
 * Stands between a client and a server of the tests on a loopback port and does to their connections what networks do. What it does
 * can be changed at any time, also for connections that stand.
 */
export class DelayProxy {
  /**
   * How long a piece on its way to the server is kept back, in ms. A client that sends a command in one write is asked once per command;
   * a connection keeps its order, so what comes behind waits as well.
   */
  delayMsOf: (piece: Buffer) => number = () => 0;
  /** Connections stand and new ones are taken, but nothing gets through any more, in either direction. */
  isSilent = false;
  /** Takes the place of the next piece from the server, once. */
  garbage: Buffer | undefined;
  /** New connections are closed at once. */
  isRefusing = false;
  /** Pieces to the server, and those of them that were kept back or waited behind one that was. */
  pieceCount = 0;
  delayedCount = 0;
  /** Connections that clients have made. */
  connectionCount = 0;
  readonly port: number;
  readonly #listener: Server;
  readonly #links = new Set<Link>();
  readonly #timers = new Set<NodeJS.Timeout>();

  private constructor(listener: Server, target: ProxyTarget) {
    this.#listener = listener;
    this.port = (listener.address() as AddressInfo).port;
    listener.on('connection', (client) => this.#link(client, target));
  }

  static start(target: ProxyTarget): Promise<DelayProxy> {
    return new Promise((resolve, reject) => {
      const listener = createServer({ noDelay: true });
      listener.once('error', reject);
      listener.listen(0, '127.0.0.1', () => resolve(new DelayProxy(listener, target)));
    });
  }

  /** Cuts every connection that stands, without a goodbye. */
  cut(): void {
    for (const { client, server } of this.#links) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  async end(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.cut();
    await new Promise<void>((resolve) => {
      this.#listener.close(() => resolve());
    });
  }

  #link(client: Socket, target: ProxyTarget): void {
    this.connectionCount += 1;
    if (this.isRefusing) {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ ...target, noDelay: true });
    const link: Link = { client, server, waiting: [] };
    this.#links.add(link);
    const close = () => {
      this.#links.delete(link);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      // 'close' follows and does the rest.
      socket.on('error', close);
      socket.on('close', close);
    }
    client.on('data', (piece) => this.#toServer(link, piece));
    server.on('data', (piece) => {
      if (this.isSilent) return;
      const { garbage } = this;
      this.garbage = undefined;
      client.write(garbage ?? piece);
    });
  }

  #toServer(link: Link, piece: Buffer): void {
    if (this.isSilent) return;
    const { waiting } = link;
    const delayMs = this.delayMsOf(piece);
    this.pieceCount += 1;
    if (delayMs <= 0 && waiting.length === 0) {
      link.server.write(piece);
      return;
    }
    this.delayedCount += 1;
    waiting.push({ dueMs: performance.now() + delayMs, piece });
    if (waiting.length === 1) this.#wait(link, delayMs);
  }

  #wait(link: Link, waitMs: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      const { waiting, server } = link;
      while (waiting.length > 0) {
        const leftMs = waiting[0]!.dueMs - performance.now();
        // A timer may be early by the fraction of a millisecond that it was rounded by.
        if (leftMs >= 1) return this.#wait(link, leftMs);
        const { piece } = waiting.shift()!;
        if (!server.destroyed) server.write(piece);
      }
    }, waitMs);
    this.#timers.add(timer);
  }
}
