import { sampleOf } from './sample.rules.js';

const NONE = new Map<string, number[]>();

const groups = (given: Record<string, number[]>): Map<string, number[]> => new Map(Object.entries(given));

describe('A sample', () => {
  it('is half of failed and half of suspect entries', () => {
    const sample = sampleOf(groups({ a: [1, 2, 3, 4] }), groups({ b: [5, 6, 7, 8] }), 4);
    expect(sample).toEqual({ failed: [1, 2], suspect: [5, 6] });
    expect(sampleOf(groups({ a: [1, 2] }), groups({ b: [5] }), 1)).toEqual({ failed: [1], suspect: [] });
  });

  it('has more of the one where there are too few of the other', () => {
    expect(sampleOf(groups({ a: [1, 2, 3, 4] }), groups({ b: [5] }), 4)).toEqual({ failed: [1, 2, 3], suspect: [5] });
    expect(sampleOf(groups({ a: [1] }), groups({ b: [5, 6, 7, 8] }), 4)).toEqual({ failed: [1], suspect: [5, 6, 7] });
    expect(sampleOf(NONE, groups({ b: [5, 6] }), 4)).toEqual({ failed: [], suspect: [5, 6] });
  });

  it('takes turns through the groups, so that a frequent fault does not hide the rare ones', () => {
    const failed = groups({ frequent: [1, 2, 3, 4, 5, 6], rare: [7], other: [8, 9] });
    expect(sampleOf(failed, NONE, 5).failed).toEqual([1, 7, 8, 2, 9]);
  });

  it('takes nothing twice that stands in several groups', () => {
    expect(sampleOf(groups({ a: [1, 2], b: [1, 2, 3] }), NONE, 5).failed).toEqual([1, 2, 3]);
  });

  it('is empty where there is nothing', () => {
    expect(sampleOf(NONE, NONE, 5)).toEqual({ failed: [], suspect: [] });
  });
});
