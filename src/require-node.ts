/**
 * Ends the process where Node is too old, in one clear line. To be imported before everything else: an older Node
 * could not even read the libraries.
 */
const LEAST = [22, 13] as const;

const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
if (major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1])) {
  process.stderr.write(
    `Node ${LEAST.join('.')} or later is needed, this is ${process.versions.node}: ` +
      'start with npm start, which uses the Node that npm ci installed.\n',
  );
  process.exit(1);
}
