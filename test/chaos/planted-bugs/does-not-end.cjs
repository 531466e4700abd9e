// SIGTERM is not heard.
const once = process.once.bind(process);
process.once = (event, listener) => (event === 'SIGTERM' ? process : once(event, listener));
const on = process.on.bind(process);
process.on = (event, listener) => on(event, event === 'SIGTERM' ? () => undefined : listener);
