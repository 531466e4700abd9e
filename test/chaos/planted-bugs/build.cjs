const { createRequire } = require('node:module');

/** Loads modules of the build that this process runs, before its program does. */
const requireOfBuild = createRequire(process.argv[1]);
requireOfBuild('reflect-metadata');

/**
 * Puts something around a method of a class of the service.
 * @param {string} file of the class, below src
 * @param {string} name of the class
 * @param {string} method
 * @param {(original: Function, self: object, args: unknown[]) => unknown} around is called instead, with the method bound to its object
 */
exports.around = (file, name, method, around) => {
  const { prototype } = requireOfBuild(`./${file}.js`)[name];
  const original = prototype[method];
  if (!original) throw new Error(`${name} has no ${method}: there is nowhere to plant this bug`);
  prototype[method] = function (...args) {
    return around(original.bind(this), this, args);
  };
};

exports.requireOfBuild = requireOfBuild;
