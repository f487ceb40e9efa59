//! Another process with the store: this test program again, told by its environment what to do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tokenkeep_core::codec::Sealing;
use tokenkeep_core::testing::conformance::START;
use tokenkeep_core::{EndReason, Insert, KeyRing, ManualClock, TokenStore as _, Tokens};
use tokenkeep_sqlite::{Options, SqliteStore};

use crate::support::{Place, device, record_of, renewed};

/// A process that has the store of a place open.
pub(crate) struct Running(Child, BufReader<ChildStdout>);

impl Running {
    /// Starts one that does `what` at `place`. With `blocks`, no file of it grows beyond so many
    /// blocks of 512 bytes.
    pub(crate) fn start(place: &Place, what: &str, blocks: Option<u32>) -> Self {
        let program = std::env::current_exe().unwrap();
        let keys = place.path().join("keys-of-the-child");
        if let Sealing::On(ring) = &place.sealing {
            std::fs::write(&keys, ring.to_text().as_bytes()).unwrap();
        }
        let limit = blocks.map_or(String::new(), |blocks| format!("ulimit -f {blocks}; "));
        let mut child = Command::new("sh")
            .args(["-c", &format!("trap '' XFSZ; {limit}exec \"$0\" \"$@\"")])
            .arg(program)
            .args(["--exact", "child::obeys", "--nocapture"])
            .env(WHAT, what)
            .env(WHERE, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    /// What it says next; none at its end.
    pub(crate) fn says(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.1.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// Kills it, and returns what it had said until then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        std::iter::from_fn(|| self.says()).collect()
    }
}

/// Does nothing unless this program was started as a child.
#[test]
fn obeys() {
    let (Ok(what), Some(place)) = (std::env::var(WHAT), std::env::var_os(WHERE)) else { return };
    let place = Path::new(&place);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let store = open(place);
    say("open");
    match what.as_str() {
        "load" => runtime.block_on(load(&store)),
        "fill" => runtime.block_on(fill(&store)),
        "wait" => drop(std::sync::mpsc::channel::<()>().1.recv()),
        other => panic!("nobody knows {other}"),
    }
}

fn open(place: &Path) -> SqliteStore {
    let ring = std::fs::read_to_string(place.join("keys-of-the-child")).unwrap();
    let sealing = Sealing::On(KeyRing::parse(&ring).unwrap());
    let clock = std::sync::Arc::new(ManualClock::new(START));
    SqliteStore::open(place.join("tokens.sqlite"), Options::new(sealing).clock(clock)).unwrap()
}

/// Logs devices in, renews their tokens and logs two of three out again, for ever; says what
/// was acknowledged.
async fn load(store: &SqliteStore) {
    let tasks = (0..8_u32).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in (task..).step_by(8) {
                let record = record_of(n, "ada@example.org");
                let login = Insert { record, replaces: None, ceiling: None };
                store.insert(login, START).await.unwrap();
                say(&format!("{n} in"));
                let record = store.get(device(n), START).await.unwrap().live().unwrap();
                let next = renewed(&record, "renewed");
                store.replace(record.version, next, Tokens::Renewed, START).await.unwrap();
                say(&format!("{n} renewed"));
                if n % 3 != 0 {
                    store.remove(device(n), None, EndReason::Logout, START).await.unwrap();
                    say(&format!("{n} out"));
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Logs devices in until that fails, and says why; then how many of them are listed, and whether
/// one more gets in once the store can be written again.
async fn fill(store: &SqliteStore) {
    for n in 0.. {
        let login =
            Insert { record: record_of(n, "ada@example.org"), replaces: None, ceiling: None };
        let Err(error) = store.insert(login, START).await else { continue };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        say(&format!("{n} {}", cause.unwrap_or_default()));
        break;
    }
    let listed = store.devices_of(&"ada@example.org".parse().unwrap(), START).await.unwrap();
    say(&format!("{}", listed.len()));
    for _ in 0..200 {
        if store.check_writable().await.is_ok() {
            break;
        }
        // The writer tries again by itself; this only gives it time.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let record = record_of(u32::MAX, "ada@example.org");
    let login = Insert { record, replaces: None, ceiling: None };
    say(&format!("{}", store.insert(login, START).await.is_ok()));
}

fn say(text: &str) {
    // In one piece, for many speak at once.
    std::io::stdout().lock().write_all(format!("{MARK}{text}\n").as_bytes()).unwrap();
}

const WHAT: &str = "TOKENKEEP_SQLITE_CHILD";
const WHERE: &str = "TOKENKEEP_SQLITE_CHILD_PLACE";
const MARK: &str = "child: ";
