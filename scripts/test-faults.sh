#!/bin/sh
# Runs the fault suite: at full scale, or with --short as `.ci/run` does. Further arguments go to Jest.
set -eu
scale=full
if [ "${1:-}" = --short ]; then
  scale=short
  shift
fi
# A test that takes 50 minutes hangs: what a test waits for has to make progress, however slow the machine is.
# They wait for most of their time, so one more runs at once than in the rest of the suite.
FAULTS=$scale exec npm test -- --testMatch '**/test/faults/*.spec.ts' --maxWorkers 3 --testTimeout 3000000 --verbose "$@"
