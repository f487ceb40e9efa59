//! Long work on the store of a running server, one at a time: a backup, a move to another store,
//! a change of keys.

mod progress;
mod ring;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokenkeep_core::keyring::KeyId;
use tokenkeep_core::wire::{TaskBody, TaskOrder, TaskState};
use tokenkeep_core::{Chain, Clock, TokenStore as _};
use tokio_util::sync::CancellationToken;

use crate::audit::{Act, Audit, What};
use crate::config::Config;
use crate::exit_code;
use crate::moving::{self, Switchable};
use crate::store::{self, Address, AnyStore};
use progress::{Failed, Progress, told};

/// Long work on a store, as the admin surface orders it.
pub trait Upkeep: Send + Sync + 'static {
    /// Begins what was ordered.
    ///
    /// # Errors
    /// Why it was not begun.
    fn begin(&self, order: TaskOrder) -> Result<TaskBody, Refused>;

    /// What is under way, or what was last.
    fn state(&self) -> Option<TaskBody>;

    /// Calls off what is under way.
    fn call_off(&self);
}

/// Why no task was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Another task is under way.
    #[error("another task is under way; GET shows it, DELETE calls it off")]
    UnderWay,
    /// The name of the backup is none.
    #[error("a name of letters, digits, dots, hyphens and underscores is expected, without a path")]
    Name,
    /// The destination is not that of the settings.
    #[error("store.move_to of the server's settings must be the address to move to")]
    Destination,
    /// The store was moved since the server started.
    #[error("the server was moved already; start it with the new settings first")]
    Moved,
    /// The settings cannot be read.
    #[error("the server's settings cannot be read again; its check-config says why")]
    Settings,
    /// What should be the id of a key is none.
    #[error("the id of a key is 8 lower-case hex digits")]
    Key,
}

/// Reads the settings again.
pub type Reread = Arc<dyn Fn() -> Option<Config> + Send + Sync>;

/// The upkeep of the store that a server serves from.
#[derive(Clone)]
pub struct StoreUpkeep {
    store: Switchable<AnyStore>,
    /// Sealed with the same ring.
    outbox: Option<AnyStore>,
    /// The settings that the store in charge was opened by.
    config: Arc<Config>,
    reread: Reread,
    clock: Arc<dyn Clock>,
    audit: Audit,
    task: Arc<Mutex<Option<Task>>>,
    /// The settings are not those of the store in charge any more.
    has_moved: Arc<AtomicBool>,
}

/// What a task does, to its end: what came of it, or why nothing did.
type Work = Box<
    dyn FnOnce(StoreUpkeep, Arc<Progress>) -> BoxFuture<'static, Result<String, Failed>> + Send,
>;

/// A task that is under way or over.
struct Task {
    body: TaskBody,
    stop: CancellationToken,
    done: Arc<Progress>,
}

impl StoreUpkeep {
    /// The upkeep of `store`, which was opened by `config`. `reread` gives the settings as they
    /// are when a move begins.
    #[must_use]
    pub fn new(
        store: Switchable<AnyStore>,
        config: Config,
        reread: Reread,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            outbox: None,
            config: Arc::new(config),
            reread,
            audit: Audit::to_log(Arc::clone(&clock)),
            clock,
            task: Arc::default(),
            has_moved: Arc::default(),
        }
    }

    /// The outbox changes its keys with the store.
    #[must_use]
    pub fn with_outbox(mut self, outbox: Option<AnyStore>) -> Self {
        self.outbox = outbox;
        self
    }

    /// Tells `audit` how tasks end; without it, the ordinary log hears it.
    #[must_use]
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Begins `work` as the one task.
    fn start(&self, kind: &'static str, work: Work) -> Result<TaskBody, Refused> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| task.body.state == TaskState::Running) {
            return Err(Refused::UnderWay);
        }
        let stop = CancellationToken::new();
        let done = Arc::new(Progress::until(stop.clone()));
        let body = TaskBody {
            kind: kind.to_owned(),
            state: TaskState::Running,
            phase: "beginning".to_owned(),
            done: 0,
            detail: None,
            exit_code: None,
        };
        *task = Some(Task { body: body.clone(), stop, done: Arc::clone(&done) });
        drop(task);
        let this = self.clone();
        tokio::spawn(async move {
            let outcome = tokio::spawn(work(this.clone(), done)).await;
            this.end(kind, outcome.unwrap_or_else(|error| Err(panicked(&error))));
        });
        Ok(body)
    }

    fn end(&self, kind: &'static str, outcome: Result<String, Failed>) {
        let act = match outcome {
            Ok(_) => Act::done(What::TaskDone),
            Err(_) => Act::failed(What::TaskFailed),
        };
        self.audit.note(None, act.with_detail(&kind));
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(task) = task.as_mut() else { return };
        match outcome {
            Ok(detail) => {
                tracing::info!(kind, detail, "a task is done");
                task.body.state = TaskState::Done;
                task.body.detail = Some(detail);
            }
            Err(Failed { cause, exit_code }) => {
                tracing::error!(kind, cause, "a task failed");
                task.body.state = TaskState::Failed;
                task.body.detail = Some(cause);
                task.body.exit_code = Some(exit_code);
            }
        }
    }

    async fn back_up(self, name: String, progress: Arc<Progress>) -> Result<String, Failed> {
        let directory = self.config.store.data_dir.join("backups");
        store::make_private(&directory).map_err(|error| not_made(&error))?;
        let path = directory.join(&name);
        let watching = Arc::clone(&progress);
        let store = self.store.current();
        let backed_up = store.back_up(&path, move |done| {
            watching.done.store(done, Ordering::Relaxed);
            !watching.stop.is_cancelled()
        });
        backed_up.await?;
        Ok(path.display().to_string())
    }

    async fn move_to(
        self,
        config: Config,
        to: Address,
        progress: Arc<Progress>,
    ) -> Result<String, Failed> {
        let from = store::configured(&self.config)?;
        let ring = store::existing_ring(&self.config, &from)?;
        let destination =
            store::open_destination(&config, &to, &ring, Some(self.store.id())).await?;
        let (source, now) = (self.store.current(), self.clock.now());
        let mark = store::mark_moved(&source, &from, &to, now);
        let moved =
            moving::move_live(&self.store, destination, &*self.clock, &*progress, mark).await?;
        self.has_moved.store(true, Ordering::Release);
        Ok(told(&moved, &to))
    }
}

impl Upkeep for StoreUpkeep {
    fn begin(&self, order: TaskOrder) -> Result<TaskBody, Refused> {
        match order {
            TaskOrder::Backup { name } if is_file_name(&name) => {
                self.start("backup", Box::new(|this, done| Box::pin(this.back_up(name, done))))
            }
            TaskOrder::Backup { .. } => Err(Refused::Name),
            // The settings are not those of the store any more.
            TaskOrder::TakeRing { .. } | TaskOrder::Reseal {} | TaskOrder::Retire { .. }
                if self.has_moved.load(Ordering::Acquire) =>
            {
                Err(Refused::Moved)
            }
            TaskOrder::TakeRing { active } => {
                let active = key_id(&active)?;
                let work: Work = Box::new(move |this, _| Box::pin(this.take_ring_of(active)));
                self.start("take_ring", work)
            }
            TaskOrder::Reseal {} => {
                self.start("reseal", Box::new(|this, done| Box::pin(this.reseal(done))))
            }
            TaskOrder::Retire { key } => {
                let key = key_id(&key)?;
                self.start("retire", Box::new(move |this, _| Box::pin(this.retire(key))))
            }
            TaskOrder::Move { .. } if self.has_moved.load(Ordering::Acquire) => Err(Refused::Moved),
            TaskOrder::Move { to } => {
                // Where to is said by whoever may change the settings, not by a request.
                let config = (self.reread)().ok_or(Refused::Settings)?;
                let meant = config.store.move_to.clone().ok_or(Refused::Destination)?;
                if meant.to_string() != to {
                    return Err(Refused::Destination);
                }
                let work: Work = Box::new(|this, done| Box::pin(this.move_to(config, meant, done)));
                self.start("move", work)
            }
        }
    }

    fn state(&self) -> Option<TaskBody> {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let task = task.as_ref()?;
        let mut body = task.body.clone();
        body.done = task.done.done.load(Ordering::Relaxed);
        body.phase = task.done.phase_name().to_owned();
        Some(body)
    }

    fn call_off(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.as_ref() {
            task.stop.cancel();
        }
    }
}

impl std::fmt::Debug for StoreUpkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreUpkeep").field("store", &self.store).finish_non_exhaustive()
    }
}

fn not_made(error: &std::io::Error) -> Failed {
    Failed { cause: Chain(error).to_string(), exit_code: exit_code::CANNOT_CREATE }
}

fn panicked(error: &tokio::task::JoinError) -> Failed {
    Failed { cause: Chain(error).to_string(), exit_code: 1 }
}

fn key_id(text: &str) -> Result<KeyId, Refused> {
    text.parse().map_err(|_| Refused::Key)
}

/// Whether `name` names a file in a directory, and nothing else.
fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=100).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_backup_leads_nowhere_else() {
        for name in ["monday", "2026-11-23_01.redb", "a"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["", ".", "..", "../up", "a/b", "/etc/passwd", "a\0b", ".hidden", "a b"] {
            assert!(!is_file_name(name), "{name:?}");
        }
        assert!(!is_file_name(&"a".repeat(101)));
    }
}
