//! The HTTP API that takes events in.
