//! What a store must hold: kept by hand, step by step, with nothing of the engine in it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use tokenkeep::testing::check_counts;
use tokenkeep::{EndReason, Engine, Lookup, RefreshIntent, RefreshToken, Timestamp, TokenRecord};

use super::{ANSWERABLE, Step};
use crate::support::{HOUR, device, email, holder, record};

/// What is known of every session that ever was.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) sessions: BTreeMap<u8, Session>,
    pub(crate) now: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) enum Session {
    Live(Box<TokenRecord>),
    Ended { reason: EndReason, forget_at: Timestamp },
}

/// What may be there although nobody was told so: a step that was under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt<'a> {
    pub(crate) after: &'a Expected,
    /// Each session by itself is as before or as after; otherwise all of them are.
    pub(crate) apart: bool,
}

impl Expected {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { sessions: BTreeMap::new(), now }
    }

    /// What must be there after `step` as well.
    pub(crate) fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        next.apply(step);
        next
    }

    fn apply(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Login(login) => {
                for (n, reason) in login.ends {
                    self.end(*n, *reason);
                }
                let mut fresh = record(login.n, now);
                fresh.email = email(login.user);
                fresh.refresh_expires_at = now + login.life;
                self.sessions.insert(login.n, Session::Live(Box::new(fresh)));
            }
            Step::Lease { n } => {
                let old = self.live(*n).refresh_intent;
                let (since, uncertain) = old.map_or((now, false), |old| (old.since, true));
                let leased_until = now + HOUR / 60;
                let intent = RefreshIntent { holder: holder(*n), since, leased_until, uncertain };
                self.live(*n).refresh_intent = Some(intent);
            }
            Step::Release { n, sent } => {
                let record = self.live(*n);
                record.refresh_intent = record.refresh_intent.filter(|old| *sent || old.uncertain);
            }
            Step::Renew { n, life } => *self.live(*n) = self.renewed(*n, now + *life),
            Step::Label { n, label } => *self.live(*n) = self.labelled(*n, label),
            Step::Touch { n } => self.live(*n).touch(now),
            Step::Logout { n } => self.end(*n, EndReason::Logout),
            Step::EndAll { ends, .. } => {
                ends.iter().for_each(|n| self.end(*n, EndReason::EndedByUser));
            }
            Step::Together(steps) => steps.iter().for_each(|step| self.apply(step)),
            Step::Pass(time) => self.now = now + *time,
            Step::RenewStale { .. } | Step::Purge { .. } => {}
            Step::Compact | Step::Rotate | Step::Reseal | Step::Reopen { .. } => {}
        }
    }

    pub(crate) fn live(&mut self, n: u8) -> &mut TokenRecord {
        match self.sessions.get_mut(&n) {
            Some(Session::Live(record)) => record,
            other => panic!("the script uses session {n}: {other:?}"),
        }
    }

    /// The record of session `n` with the tokens that follow its present ones.
    pub(crate) fn renewed(&self, n: u8, until: Timestamp) -> TokenRecord {
        let mut record = self.clone().live(n).clone();
        record.version = record.version.next();
        let text = format!("canary-refresh-{n}-{}", record.version.number());
        record.refresh_token = RefreshToken::new(text).unwrap();
        (record.refresh_expires_at, record.refresh_intent) = (until, None);
        record
    }

    pub(crate) fn labelled(&self, n: u8, label: &str) -> TokenRecord {
        let mut record = self.clone().live(n).clone();
        record.version = record.version.next();
        record.label = Some(label.parse().unwrap());
        record
    }

    fn end(&mut self, n: u8, reason: EndReason) {
        let forget_at = self.now + ANSWERABLE;
        self.sessions.insert(n, Session::Ended { reason, forget_at });
    }

    /// What `engine` has otherwise, or what it has besides.
    pub(crate) fn difference(&self, engine: &Engine, doubt: Option<Doubt<'_>>) -> Option<String> {
        let Some(doubt) = doubt else { return self.sessions_differ(engine, None) };
        if doubt.apart {
            return self.sessions_differ(engine, Some(doubt.after));
        }
        let before = self.sessions_differ(engine, None)?;
        let after = doubt.after.sessions_differ(engine, None)?;
        Some(format!("neither as before ({before}) nor as after ({after})"))
    }

    /// What `engine` answers otherwise of these sessions, whatever else it has.
    pub(crate) fn answers_differ(&self, engine: &Engine) -> Option<String> {
        self.sessions.iter().find_map(|(n, session)| {
            let found = engine.blocking().get(device(*n), self.now);
            let right = found.as_ref().is_ok_and(|found| fits(found, Some(session), self.now));
            (!right).then(|| format!("session {n}: found {found:?}, expected {session:?}"))
        })
    }

    fn sessions_differ(&self, engine: &Engine, or: Option<&Self>) -> Option<String> {
        let now = or.map_or(self.now, |or| or.now);
        let numbers: BTreeSet<u8> = self
            .sessions
            .keys()
            .chain(or.iter().flat_map(|or| or.sessions.keys()))
            .copied()
            .collect();
        let mut live: BTreeMap<String, Vec<_>> = USERS.map(|user| (user.to_owned(), vec![])).into();
        for n in numbers {
            let found = match engine.blocking().get(device(n), now) {
                Ok(found) => found,
                Err(error) => return Some(format!("session {n}: {error:?}")),
            };
            let fits = |expected: &Self| fits(&found, expected.sessions.get(&n), now);
            if !fits(self) && !or.is_some_and(fits) {
                let expected = self.sessions.get(&n);
                return Some(format!("session {n}: found {found:?}, expected {expected:?}"));
            }
            if let Lookup::Live(record) = found {
                live.entry(record.email.to_string()).or_default().push(record.device_id);
            }
        }
        lists_differ(engine, live, now)
    }
}

fn lists_differ(
    engine: &Engine,
    live: BTreeMap<String, Vec<tokenkeep::DeviceId>>,
    now: Timestamp,
) -> Option<String> {
    let engine = engine.blocking();
    let mut all = BTreeSet::new();
    for (user, expected) in live {
        let listed = match engine.devices_of(&email(&user), now) {
            Ok(listed) => listed.iter().map(|record| record.device_id).collect::<BTreeSet<_>>(),
            Err(error) => return Some(format!("list of {user}: {error:?}")),
        };
        if listed != expected.iter().copied().collect() {
            return Some(format!("{user} is listed with {listed:?} and has {expected:?}"));
        }
        all.extend(listed);
    }
    let page = match engine.scan(None, NonZeroUsize::MAX, now) {
        Ok(page) => page,
        Err(error) => return Some(format!("walk: {error:?}")),
    };
    let walked: BTreeSet<_> = page.records.iter().map(|record| record.device_id).collect();
    (walked != all).then(|| format!("a walk meets {walked:?}, there are {all:?}"))
}

/// Holds counts and rows against each other, too.
#[track_caller]
pub(crate) fn check_whole(engine: &Engine, now: Timestamp) {
    check_counts(engine);
    assert_eq!(engine.blocking().stats(now).unwrap().unreadable, 0);
}

pub(super) fn fits(found: &Lookup, expected: Option<&Session>, now: Timestamp) -> bool {
    match (found, expected) {
        (Lookup::Absent, None) => true,
        (Lookup::Live(found), Some(Session::Live(record))) => {
            !record.is_dead(now) && shown(found) == shown(record)
        }
        (Lookup::Ended(ended), Some(Session::Live(record))) => {
            record.is_dead(now) && ended.reason == EndReason::Expired
        }
        (Lookup::Ended(ended), Some(Session::Ended { reason, forget_at })) => {
            ended.reason == *reason && now < *forget_at
        }
        (Lookup::Absent, Some(Session::Live(record))) => record.is_dead(now),
        (Lookup::Absent, Some(Session::Ended { forget_at, .. })) => now >= *forget_at,
        _ => false,
    }
}

/// Everything of a record, tokens included. Whether a lease is held is a matter of the process.
fn shown(record: &TokenRecord) -> impl PartialEq + use<> {
    let mut plain = record.clone();
    plain.refresh_intent = None;
    let intent = record.refresh_intent.map(|intent| (intent.holder, intent.since));
    let tokens = [record.access_token.expose(), record.refresh_token.expose()];
    (format!("{plain:?}"), tokens.map(ToString::to_string), *record.verifier.as_bytes(), intent)
}

pub(crate) const USERS: [&str; 3] = ["ada@example.org", "bob@example.org", "eve@example.org"];
