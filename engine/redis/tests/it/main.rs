//! The store on real servers: one `redis-server`, and a cluster of three.

mod conformance;
mod server;
