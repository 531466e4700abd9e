// An entry is changed at every append, past the trigger that refuses it.
const { around, requireOfBuild } = require('./build.cjs');
const { sql } = requireOfBuild('drizzle-orm');

around('ledger/ledger.repository', 'Ledger', 'append', async (append, { database }, args) => {
  await database.transaction(async (tx) => {
    await tx.query(sql`set local session_replication_role = replica`);
    await tx.query(sql`update ledger set received_at = now() where position = 10`);
  });
  return append(...args);
});
