/* global uPlot */
// The page polls one JSON document a second; the token comes in the link's fragment and is kept for this tab only.
const fragment = new URLSearchParams(location.hash.slice(1));
const token = fragment.get('token') ?? sessionStorage.getItem('gavelin-token') ?? '';
if (fragment.has('token')) {
  sessionStorage.setItem('gavelin-token', token);
  history.replaceState(null, '', location.pathname);
}
const byId = (id) => document.getElementById(id);
// Read where it is used: a canvas does not understand light-dark().
const quiet = getComputedStyle(byId('model')).color;
const palette = ['#2f7de1', '#e1862f', '#2fa66a', '#b04fd0', '#d0454f', '#8a8f98'];

async function ask(path) {
  const answer = await fetch(path, { headers: { authorization: `Bearer ${token}` } });
  if (answer.status === 401)
    throw new Error('This page needs the link with the token that the server printed at start.');
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function chart(id, labels, format) {
  const holder = byId(id);
  const axis = { stroke: quiet, grid: { stroke: 'rgba(128,128,128,0.2)', width: 1 } };
  const plot = new uPlot(
    {
      width: Math.max(280, holder.clientWidth),
      height: 190,
      series: [
        {},
        ...labels.map((label, index) => ({
          label,
          stroke: palette[index % palette.length],
          width: 1.5,
          value: (_, value) => (value === null || value === undefined ? '–' : format(value)),
        })),
      ],
      axes: [axis, { ...axis, size: 72, values: (_, ticks) => ticks.map((tick) => format(tick)) }],
    },
    [[], ...labels.map(() => [])],
    holder,
  );
  new ResizeObserver(() => plot.setSize({ width: Math.max(280, holder.clientWidth), height: 190 })).observe(holder);
  return plot;
}

const whole = (value) => Math.round(value).toLocaleString('en');
const ms = (value) => `${value.toFixed(2)}`;
const percent = (value) => `${(value * 100).toFixed(2)} %`;
const money = (nanos) => `$${(nanos / 1e9).toFixed(nanos > 1e11 ? 0 : 4)}`;

const rate = chart('chart-rate', ['requests', 'bids', 'shed'], whole);
const latency = chart('chart-latency', ['p50', 'p99', 'scoring p99'], ms);
const ctr = chart('chart-ctr', ['predicted', 'observed'], percent);
const revenue = chart('chart-revenue', ['revenue', 'cost'], (value) => `$${value.toFixed(4)}`);
let rung;

/** Sums of the last `span` samples at every place, so that rare clicks make a line and not a comb. */
function rolling(samples, key, span) {
  let sum = 0;
  return samples.map((sample, index) => {
    sum += sample.counts[key];
    if (index >= span) sum -= samples[index - span].counts[key];
    return sum;
  });
}

function table(element, head, rows) {
  element.replaceChildren();
  const header = element.createTHead().insertRow();
  for (const [text, isNumber] of head) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    cell.textContent = text;
    if (isNumber) cell.className = 'number';
    header.append(cell);
  }
  const body = element.createTBody();
  for (const values of rows) {
    const row = body.insertRow();
    for (const [index, value] of values.entries()) {
      const cell = row.insertCell();
      if (value instanceof Node) cell.append(value);
      else cell.textContent = value;
      if (head[index][1]) cell.className = 'number';
    }
  }
}

async function explain(auctionId) {
  const holder = byId('explain');
  holder.hidden = false;
  try {
    const answer = await ask(`/admin/v1/explain/${auctionId}`);
    holder.textContent = answer.text;
  } catch (error) {
    holder.textContent = error.message;
  }
  holder.focus();
}

function auctionLink(auctionId) {
  const button = document.createElement('button');
  button.className = 'link';
  button.type = 'button';
  button.textContent = auctionId;
  button.addEventListener('click', () => void explain(auctionId));
  return button;
}

function show(data) {
  const { samples, totals } = data;
  const times = samples.map((sample) => sample.timeMs / 1000);
  const column = (read) => samples.map(read);
  rate.setData([times, column((s) => s.counts.requests), column((s) => s.counts.bids), column((s) => s.counts.shed)]);
  latency.setData([
    times,
    column((s) => s.stageP50Ms.total),
    column((s) => s.stageP99Ms.total),
    column((s) => s.stageP99Ms.score),
  ]);
  const views = rolling(samples, 'notices_view', 60);
  const share = (key) =>
    rolling(samples, key, 60).map((value, index) => (views[index] > 0 ? value / views[index] : null));
  ctr.setData([times, share('expected_clicks'), share('notices_click')]);
  revenue.setData([times, column((s) => s.counts.charged_nanos / 1e9), column((s) => s.counts.cost_nanos / 1e9)]);
  const rungNames = Object.keys(samples.at(-1)?.rungCounts ?? {});
  // Before the first sample nobody knows the rungs' names.
  if (rungNames.length > 0) rung ??= chart('chart-rung', rungNames, percent);
  const answered = column((s) => Object.values(s.rungCounts).reduce((sum, count) => sum + count, 0));
  rung?.setData([
    times,
    ...rungNames.map((name) =>
      column((s) => s.rungCounts[name]).map((n, i) => (answered[i] > 0 ? n / answered[i] : null)),
    ),
  ]);

  const last = samples.at(-1);
  const clicks = totals.notices_click;
  const tiles = [
    ['requests/s', last ? whole(last.counts.requests) : '–'],
    ['bids/s', last ? whole(last.counts.bids) : '–'],
    ['p50 ms', last?.stageP50Ms.total ? ms(last.stageP50Ms.total) : '–'],
    ['p99 ms', last?.stageP99Ms.total ? ms(last.stageP99Ms.total) : '–'],
    ['revenue', money(totals.charged_nanos)],
    ['margin', money(totals.charged_nanos - totals.cost_nanos)],
    ['views', whole(totals.notices_view)],
    ['clicks', whole(clicks)],
    ['predicted ÷ observed clicks', clicks > 0 ? (totals.expected_clicks / clicks).toFixed(3) : 'not enough data'],
    ['load', data.loadLevel],
  ];
  byId('tiles').replaceChildren(
    ...tiles.map(([label, value]) => {
      const tile = document.createElement('div');
      tile.className = 'tile';
      const strong = document.createElement('b');
      strong.textContent = value;
      const small = document.createElement('span');
      small.textContent = label;
      tile.append(strong, small);
      return tile;
    }),
  );
  table(
    byId('stages'),
    [['stage'], ['p50', true], ['p99', true]],
    Object.keys(last?.stageP50Ms ?? {}).map((stage) => [
      stage,
      last.stageP50Ms[stage] === null ? '–' : ms(last.stageP50Ms[stage]),
      last.stageP99Ms[stage] === null ? '–' : ms(last.stageP99Ms[stage]),
    ]),
  );
  table(
    byId('auctions'),
    [
      ['auction'],
      ['at'],
      ['rung'],
      ['imps', true],
      ['candidates', true],
      ['winner'],
      ['pCTR', true],
      ['value CPM', true],
    ],
    data.auctions.map((auction) => [
      auctionLink(auction.auctionId),
      new Date(auction.timeMs).toLocaleTimeString(),
      auction.rung,
      String(auction.imps),
      String(auction.candidates),
      auction.winner ?? 'no bid',
      auction.pClick === null ? '–' : percent(auction.pClick),
      auction.valueNanos === null ? '–' : `$${(auction.valueNanos / 1e6).toFixed(3)}`,
    ]),
  );
  byId('model').textContent = `model ${data.modelId.slice(0, 12)} · ${whole(data.adCount)} ads`;
}

async function tick() {
  const state = byId('state');
  try {
    show(await ask('/admin/v1/overview'));
    state.textContent = 'live';
    state.className = '';
  } catch (error) {
    state.textContent = error.message;
    state.className = 'bad';
  }
  setTimeout(() => void tick(), 1000);
}
void tick();
