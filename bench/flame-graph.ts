/** The part of V8's CPU profile that is used here; times are µs. */
export interface CpuProfile {
  nodes: ProfileNode[];
  samples: number[];
  timeDeltas: number[];
}

interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string };
  children?: number[];
}

interface Box {
  name: string;
  micros: number;
  inside: Map<string, Box>;
}

/** Of a profile, in shares of its length: the time before is for the start and the warm-up, that after for the end. */
const WINDOW = [0.4, 0.9] as const;
const WIDTH = 1200;
const ROW = 18;
const FOOT = 24;
const MIN_SHARE = 0.003;
const CHARACTER = 6.6;
const COLOURS: Record<string, string> = { ours: '#e8965a', libraries: '#f2cf7c', node: '#a9c7de', all: '#dddddd' };

/**
 * Draws a CPU profile as an SVG, callers above what they call. Who called is lost where a promise was waited for, so every
 * stack begins at the file or library that its last function belongs to, and stands under its name.
 */
export function flameGraph({ nodes, samples, timeDeltas }: CpuProfile, title: string): string {
  const root: Box = { name: 'busy', micros: 0, inside: new Map() };
  const stacks = stacksOf(nodes);
  const whole = timeDeltas.reduce((sum, delta) => sum + delta, 0);
  let time = 0;
  for (const [i, sample] of samples.entries()) {
    time += timeDeltas[i]!;
    const stack = stacks.get(sample)!;
    if (time < whole * WINDOW[0] || time > whole * WINDOW[1] || stack.at(-1)!.name === '(idle)') continue;
    let box = root;
    box.micros += timeDeltas[i]!;
    for (const name of shown(stack)) {
      const inner = box.inside.get(name) ?? { name, micros: 0, inside: new Map<string, Box>() };
      box.inside.set(name, inner);
      inner.micros += timeDeltas[i]!;
      box = inner;
    }
  }
  const rects: string[] = [];
  const rows = draw(root, root.micros, 0, 0, rects);
  const height = rows * ROW + FOOT;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="11">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...rects,
    `<text x="4" y="${height - 8}">${escaped(title)}</text>`,
    '</svg>\n',
  ].join('\n');
}

interface Frame {
  name: string;
  /** The file of ours or the library; empty for what belongs to Node itself. */
  owner: string;
}

/** From the outermost caller to the function itself, by node; a profile names callers before what they call. */
function stacksOf(nodes: ProfileNode[]): Map<number, Frame[]> {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, frameOf(callFrame)]));
  const stacks = new Map<number, Frame[]>();
  for (const { id, children = [] } of nodes) {
    const stack = stacks.get(id) ?? [frames.get(id)!];
    stacks.set(id, stack);
    for (const child of children) stacks.set(child, [...stack, frames.get(child)!]);
  }
  return stacks;
}

function frameOf({ functionName, url }: ProfileNode['callFrame']): Frame {
  const library = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
  const owner = library ?? /\/dist\/(?!bench\/)(.*)\.js$/.exec(url)?.[1] ?? '';
  return { name: functionName || 'anonymous', owner };
}

function shown(stack: Frame[]): string[] {
  const owner = stack.findLast((frame) => frame.owner)?.owner;
  if (owner === undefined) return ['Node', ...stack.slice(1).map(({ name }) => name)];
  const last = stack.findLastIndex((frame) => frame.owner === owner);
  let first = last;
  while (first > 0 && stack[first - 1]!.owner === owner) first--;
  return [owner, ...stack.slice(first).map(({ name }) => name)];
}

/** @returns how many rows it took */
function draw(box: Box, whole: number, depth: number, x: number, rects: string[], kind = 'all'): number {
  const share = box.micros / whole;
  const width = share * WIDTH;
  const text = box.name.slice(0, Math.max(0, Math.floor((width - 6) / CHARACTER)));
  rects.push(
    `<g><title>${escaped(box.name)}: ${(share * 100).toFixed(1)} %</title>` +
      `<rect x="${x.toFixed(1)}" y="${depth * ROW}" width="${width.toFixed(1)}" height="${ROW - 1}" fill="${COLOURS[kind]!}"/>` +
      `${text.length > 1 ? `<text x="${(x + 3).toFixed(1)}" y="${depth * ROW + 13}">${escaped(text)}</text>` : ''}</g>`,
  );
  let rows = depth + 1;
  let at = x;
  for (const inner of [...box.inside.values()].sort((one, other) => other.micros - one.micros)) {
    if (inner.micros / whole < MIN_SHARE) continue;
    rows = Math.max(rows, draw(inner, whole, depth + 1, at, rects, depth === 0 ? kindOf(inner.name) : kind));
    at += (inner.micros / whole) * WIDTH;
  }
  return rows;
}

function kindOf(owner: string): string {
  if (owner === 'Node') return 'node';
  return /^(cli|ledger|orders|platform|producer|shared|stats)\//.test(owner) ? 'ours' : 'libraries';
}

function escaped(text: string): string {
  return text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
