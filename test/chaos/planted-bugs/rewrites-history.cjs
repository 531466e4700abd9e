// A time of receipt, which no hash covers, is changed at every append.
const { around, requireOfBuild } = require('./build.cjs');
const { sql } = requireOfBuild('drizzle-orm');

around('ledger/append-queue', 'AppendQueue', 'call', async (call, { database }, [messages]) => {
  await database.query(sql`update ledger set received_at = now() where position = 10`);
  return call(messages);
});
