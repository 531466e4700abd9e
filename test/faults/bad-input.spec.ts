import { sweepsBadInput } from '../support/bad-input-sweep.js';
import { atScale } from '../support/fault-scale.js';

sweepsBadInput(atScale(7, 1));
