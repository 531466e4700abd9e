#!/bin/sh
# Runs the fault suite: at full scale, or with --short as `.ci/run` does. Further arguments go to Jest.
set -eu
scale=full
if [ "${1:-}" = --short ]; then
  scale=short
  shift
fi
FAULTS=$scale exec npm test -- --testMatch '**/test/faults/*.spec.ts' --verbose "$@"
