//! JUnit XML in: what the test runners of the world write, read as a stream.
