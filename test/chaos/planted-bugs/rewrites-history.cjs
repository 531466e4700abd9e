// A time of receipt, which no hash covers, is changed at every append.
const { around, requireOfBuild } = require('./build.cjs');
const { sql } = requireOfBuild('drizzle-orm');

around('ledger/ledger', 'Ledger', 'append', async (append, { database }, args) => {
  await database.query(sql`update ledger set received_at = now() where position = 10`);
  return append(...args);
});
