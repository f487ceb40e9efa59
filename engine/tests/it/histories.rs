//! Concurrent histories, recorded from real threads and held against what one thread could see.

mod checker;
mod device;
mod recorder;
mod running;
mod user;
