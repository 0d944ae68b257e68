//! Hands events to the daemon, and keeps them in files while it is away.
