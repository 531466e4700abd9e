/**
 * Closes a run with what Jest's own summary leaves out or says too early: the skipped tests by name (a name tells why),
 * and as the very last line, alone on it, `N passed, N failed, N skipped`.
 */
module.exports = class ClosingLineReporter {
  constructor({ testNamePattern }) {
    // With -t every other test counts as skipped, which needs no list.
    this.listsSkipped = !testNamePattern;
  }

  onRunComplete(_contexts, results) {
    // Jest prints its summary after every reporter has had its turn.
    process.once('exit', () => process.stdout.write(closingLines(results, this.listsSkipped)));
  }
};

function closingLines(results, listsSkipped) {
  const skipped = results.testResults
    .flatMap((file) => file.testResults)
    .filter((test) => test.status === 'pending' || test.status === 'todo')
    .map((test) => `  ${test.fullName}`);
  // A file that does not even load has no tests, and has failed all the same.
  const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
  return [
    '',
    ...(listsSkipped && skipped.length > 0 ? ['Skipped:', ...skipped.sort(), ''] : []),
    `${results.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped`,
    '',
  ].join('\n');
}
