"""Pure rules: no input or output, no engine, no clock. Everything here can be tested with values alone."""
