//! The client against servers made from closures: what it sends, what it makes of the answers.

mod admin;
mod errors;
mod repeats;
mod secrecy;
mod send;
mod stub;
mod tokens;
mod user;
mod watch;
