//! What events come to over time: tests that fail newly or flakily, deployments and load runs beside
//! the version before them. Pure.
