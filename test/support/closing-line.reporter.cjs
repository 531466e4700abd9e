const { relative } = require('node:path');

const SLOWEST = 10;

/**
 * Closes a run with what Jest's own summary leaves out or prints too early: the slowest files, the skipped tests by name
 * (which gives the reason), and as the very last line, alone on it, `N passed, N failed, N skipped`.
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
    ...slowestFiles(results),
    ...(listsSkipped && skipped.length > 0 ? ['Skipped:', ...skipped.sort(), ''] : []),
    `${results.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped`,
    '',
  ].join('\n');
}

function slowestFiles({ testResults }) {
  if (testResults.length <= SLOWEST) return [];
  const slowest = testResults.toSorted((a, b) => b.perfStats.runtime - a.perfStats.runtime).slice(0, SLOWEST);
  const lines = slowest.map(({ perfStats, testFilePath }) => {
    const seconds = (perfStats.runtime / 1000).toFixed(1).padStart(6);
    return `  ${seconds} s  ${relative(process.cwd(), testFilePath)}`;
  });
  return ['Slowest files:', ...lines, ''];
}
