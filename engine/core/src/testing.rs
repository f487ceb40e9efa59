//! Doubles and suites for tests.
