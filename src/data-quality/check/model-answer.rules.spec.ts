import { type ModelAnswer, presentable } from './model-answer.rules.js';

const ANSWER: ModelAnswer = {
  valid: true,
  fields: [],
  value_equals_sum: true,
  extracted: { user_id: null, order_value: null, order_timestamp: null },
  inconsistencies: [],
  fixes: [],
};

function problem(text: string): string {
  return presentable({ ...ANSWER, inconsistencies: [{ field: '', problem: text }] }, null).inconsistencies[0]!.problem;
}

describe('presentable', () => {
  it.each([
    ['U9', 'U9', 'U7', 'U7'],
    [' U9 ', 'U9', 'U$&', 'U$&'],
    ['U99', 'U9', 'U7', 'U99'],
    ['U9', 'U9', `U${'7'.repeat(400)}`, `U${'7'.repeat(298)}…`],
  ])('makes of the user id "%s", for %s %s', (user_id, shown, real, made) => {
    const answer = { ...ANSWER, extracted: { ...ANSWER.extracted, user_id } };
    expect(presentable(answer, { shown, real }).extracted.user_id).toBe(made);
  });

  it('puts no user id where something else may be meant', () => {
    const inconsistencies = [{ field: 'items', problem: 'A quantity of 9' }];
    expect(presentable({ ...ANSWER, inconsistencies }, { shown: '9', real: '7' })).toMatchObject({ inconsistencies });
  });

  it('keeps the first word of a field, and texts without what moves a cursor or turns letters around', () => {
    const field = {
      field: 'user_id' as const,
      present: true,
      correct_type: true,
      note: 'a\u0000\u001b[31m\nb\u2028\u202ec',
    };
    const { fields } = presentable({ ...ANSWER, fields: [field, { ...field, present: false }] }, null);
    expect(fields).toEqual([{ ...field, note: 'a [31m b c' }]);
  });

  it('cuts what is too long', () => {
    expect(problem('x'.repeat(301))).toBe(`${'x'.repeat(299)}…`);
    expect(problem('😀'.repeat(200)).isWellFormed()).toBe(true);
  });
});
