/** Jest's global tear-down: ends what start-servers.cjs has started. */
module.exports = () => globalThis.stopServers();
