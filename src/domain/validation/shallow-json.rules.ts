import { MAX_LEVELS } from '../../shared/nesting.js';

/** An order of the most items has half as many objects and lists; how a text with fewer is nested costs little. */
const FEW_OPENINGS = 20_000;

const [QUOTE, COMMA, COLON, BACKSLASH] = [codeOf('"'), codeOf(','), codeOf(':'), codeOf('\\')];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [codeOf('['), codeOf(']'), codeOf('{'), codeOf('}')];
const [SPACE, TAB, LINE_FEED, CARRIAGE_RETURN] = [codeOf(' '), codeOf('\t'), codeOf('\n'), codeOf('\r')];
const BEHIND_SCALAR = /[ \t\n\r,:"[\]{}]|$/g;

/**
 * Reads JSON as JSON.parse does, but for what is nested deeper than 200 levels, which nobody looks at: in a text with very
 * many objects and lists it has to be well-formed, and is left out. A megabyte of brackets would else cost as much as
 * hundreds of orders, half of it for what it leaves behind in memory.
 * @throws SyntaxError as JSON.parse does
 */
export function parseShallow(text: string): unknown {
  return JSON.parse(hasManyOpenings(text) ? withoutDepths(text, MAX_LEVELS) : text);
}

/**
 * A text in which the objects and lists within so many others are empty; it is JSON where it was JSON. Of the rest it may
 * be anything: what JSON.parse reads without a fault is balanced, so the levels counted here are its own.
 * @throws SyntaxError where what is left out is not well-formed
 */
export function withoutDepths(text: string, levels: number): string {
  const pieces: string[] = [];
  let kept = 0;
  let depth = 0;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfText(text, at);
    } else if (isOpening(code) && depth === levels) {
      const end = endOfNesting(text, at);
      pieces.push(text.slice(kept, at + 1));
      kept = end - 1;
      at = end;
    } else {
      if (isOpening(code)) depth++;
      else if (code === CLOSE_OBJECT || code === CLOSE_LIST) depth--;
      at++;
    }
  }
  return pieces.join('') + text.slice(kept);
}

/** How many names of fields a JSON text has, those that stand twice in one object counted twice. */
export function namesIn(text: string): number {
  let names = 0;
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at)) {
    at = behindSpace(text, endOfText(text, at));
    if (text.charCodeAt(at) === COLON) names++;
  }
  return names;
}

/** Also counts what stands within texts. */
function hasManyOpenings(text: string): boolean {
  let openings = 0;
  for (const opening of ['{', '[']) {
    for (let at = text.indexOf(opening); at !== -1; at = text.indexOf(opening, at + 1)) {
      if (++openings > FEW_OPENINGS) return true;
    }
  }
  return false;
}

/**
 * Where an object or a list ends. Keeps the levels in a list of its own, as they may be more than a stack holds.
 * @throws SyntaxError where it is not well-formed
 */
function endOfNesting(text: string, start: number): number {
  const closers: number[] = [];
  let at = start;
  let isFresh = false;
  let isBehindValue = false;
  do {
    at = behindSpace(text, at);
    const closer = closers[closers.length - 1];
    if ((isFresh || isBehindValue) && text.charCodeAt(at) === closer) {
      closers.pop();
      at++;
      isFresh = false;
      isBehindValue = true;
      continue;
    }
    if (isBehindValue) at = behindSpace(text, behind(COMMA, text, at));
    if (closer === CLOSE_OBJECT) at = behindSpace(text, behind(COLON, text, behindSpace(text, endOfName(text, at))));
    const code = text.charCodeAt(at);
    isFresh = isOpening(code);
    isBehindValue = !isFresh;
    if (isFresh) {
      closers.push(code === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_LIST);
      at++;
    } else {
      at = endOfScalar(text, at);
    }
  } while (closers.length > 0);
  return at;
}

function codeOf(character: string): number {
  return character.charCodeAt(0);
}

function isOpening(code: number): boolean {
  return code === OPEN_OBJECT || code === OPEN_LIST;
}

function behindSpace(text: string, start: number): number {
  for (let at = start; ; at++) {
    const code = text.charCodeAt(at);
    if (code !== SPACE && code !== LINE_FEED && code !== CARRIAGE_RETURN && code !== TAB) return at;
  }
}

function behind(code: number, text: string, at: number): number {
  if (text.charCodeAt(at) !== code) throw new SyntaxError(`No ${String.fromCharCode(code)} at ${at}`);
  return at + 1;
}

function endOfName(text: string, start: number): number {
  if (text.charCodeAt(start) !== QUOTE) throw new SyntaxError(`No name at ${start}`);
  return endOfScalar(text, start);
}

function endOfScalar(text: string, start: number): number {
  BEHIND_SCALAR.lastIndex = start;
  const end = text.charCodeAt(start) === QUOTE ? endOfText(text, start) : BEHIND_SCALAR.exec(text)!.index;
  JSON.parse(text.slice(start, end));
  return end;
}

/** Of a text that does not end, the end of all. */
function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return end + 1;
  }
  return text.length;
}
