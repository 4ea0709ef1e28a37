"""Commands: admission, execution, lanes, log, verification, refusals."""
