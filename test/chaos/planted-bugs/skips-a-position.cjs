// The ledger once gives out a position too high.
const { around, requireOfBuild } = require('./build.cjs');
const { sql } = requireOfBuild('drizzle-orm');

let appends = 0;
around('ledger/append-queue', 'AppendQueue', 'call', async (call, { database }, [messages]) => {
  if (++appends === 5) await database.query(sql`update ledger_head set position = position + 1`);
  return call(messages);
});
