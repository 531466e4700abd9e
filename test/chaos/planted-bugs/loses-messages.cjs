// One message in some dozens is acknowledged as if it were a duplicate, and stored nowhere.
const { around } = require('./build.cjs');

around('ledger/append-queue', 'AppendQueue', 'append', async (append, _queue, [messages, deadline]) => {
  const isLost = ({ body }) => /chaos-mark-\d*7[05]\b/.test(body);
  const results = await append(
    messages.filter((message) => !isLost(message)),
    deadline,
  );
  return messages.map((message) => (isLost(message) ? { kind: 'duplicate', position: 1 } : results.shift()));
});
