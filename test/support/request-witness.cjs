/*
 * Loaded into the process of a service before its own code: writes, when the process ends, which HTTP requests it has
 * received and which of them it has not answered whole, by the number that each carries in X-Probe.
 */
const { writeSync } = require('node:fs');
const { Server } = require('node:http');

const received = [];
const unanswered = new Set();
const { emit } = Server.prototype;

Server.prototype.emit = function (event, request, response) {
  const probe = event === 'request' ? request.headers['x-probe'] : undefined;
  if (probe !== undefined) {
    received.push(Number(probe));
    unanswered.add(Number(probe));
    response.once('finish', () => unanswered.delete(Number(probe)));
  }
  return emit.apply(this, arguments);
};

process.once('exit', () => writeSync(1, `\nWITNESS ${JSON.stringify({ received, unanswered: [...unanswered] })}\n`));
