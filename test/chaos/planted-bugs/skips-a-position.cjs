// The ledger once gives out a position too high.
const { around, requireOfBuild } = require('./build.cjs');
const { sql } = requireOfBuild('drizzle-orm');

let appends = 0;
around('ledger/ledger.repository', 'Ledger', 'append', async (append, { database }, args) => {
  if (++appends === 5) await database.query(sql`update ledger_head set position = position + 1`);
  return append(...args);
});
