//! Runs a command, passes its output through, and watches it.
