/** Positions of entries by what they stand for: a reason or a kind of suspect. An entry may stand in several. */
export type Groups = ReadonlyMap<string, readonly number[]>;

/** Which entries are to be checked. */
export interface Sample {
  failed: number[];
  suspect: number[];
}

/**
 * Chooses entries, half of them failed and half suspect, or more of the one where there are too few of the other. On either
 * side the groups take turns, so that a frequent fault does not hide the rare ones.
 * @param most how many to choose
 */
export function sampleOf(failed: Groups, suspect: Groups, most: number): Sample {
  const [allFailed, allSuspect] = [taking(failed, most), taking(suspect, most)];
  const half = Math.ceil(most / 2);
  const ofFailed = Math.min(allFailed.length, Math.max(half, most - allSuspect.length));
  return { failed: allFailed.slice(0, ofFailed), suspect: allSuspect.slice(0, most - ofFailed) };
}

/** Entries from the beginnings of the groups, in turns: at most so many, and none twice. */
function taking(groups: Groups, most: number): number[] {
  const taken = new Set<number>();
  let rest = [...groups.values()];
  while (rest.length > 0) {
    rest = rest.map((positions) => positions.filter((position) => !taken.has(position)));
    rest = rest.filter((positions) => positions.length > 0);
    for (const [first] of rest) {
      if (taken.size === most) return [...taken];
      taken.add(first!);
    }
  }
  return [...taken];
}
