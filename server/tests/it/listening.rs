//! What the log says, for tests that run on one thread.

use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that this thread says from here on, at trace level.
pub struct Listening {
    sink: Sink,
    _second: tracing::Dispatch,
    _listening: tracing::subscriber::DefaultGuard,
}

impl Listening {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.sink.0.lock().unwrap()).into_owned()
    }
}

pub fn listen() -> Listening {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one subscriber only, tracing asks the thread that meets a line first whether
    // anybody listens; the other tests' threads would say no for this one, too.
    let second = tracing::Dispatch::new(tracing_subscriber::registry());
    let listening = tracing::subscriber::set_default(subscriber);
    Listening { sink, _second: second, _listening: listening }
}
