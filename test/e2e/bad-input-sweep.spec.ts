import { sweepsBadInput } from '../support/bad-input-sweep.js';

// All of it is for the fault suite.
sweepsBadInput(13);
