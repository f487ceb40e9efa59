//! The users of servers that will be killed or lose their store, and what they find afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokenkeep_core::wire::{DevicesBody, EndedBody, Problem};

pub use super::wire::Wire;
use crate::ledger::{Asked, Ending, Entry, Fate, Found};
use crate::world::{PATIENCE, cookie_of, device_of};

/// Numbers that look random and repeat with their seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// A user with a few devices, who never rests.
pub struct Worker {
    pub email: String,
    pub entries: Vec<Entry>,
    /// Logins that were asked for and not answered.
    pub logins_asked: usize,
    /// Logins of earlier rounds that were stored and not answered.
    pub strangers: usize,
    /// Whether it ends all sessions at once now and then.
    pub ends_all: bool,
    pub dice: Dice,
}

impl Worker {
    pub fn new(email: String, dice: Dice) -> Self {
        let (entries, logins_asked, strangers) = (Vec::new(), 0, 0);
        Self { email, entries, logins_asked, strangers, ends_all: true, dice }
    }

    /// Works until the server is killed.
    pub async fn work(mut self, wire: Wire) -> Self {
        while self.step(&wire).await.is_some() {}
        self
    }

    /// Works until it is told to stop, whatever the servers cannot do meanwhile.
    pub async fn work_on(mut self, wire: Wire, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::SeqCst) {
            if self.step(&wire).await.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self
    }

    async fn step(&mut self, wire: &Wire) -> Option<()> {
        // Where a change was not answered it is not known what there is to change.
        let is_known = |entry: &Entry| matches!(entry.asked, None | Some(Asked::Refresh));
        let is_live = |index: &usize| {
            let entry = &self.entries[*index];
            entry.ended.is_none() && is_known(entry)
        };
        let live: Vec<usize> = (0..self.entries.len()).filter(is_live).collect();
        let what = self.dice.roll(100);
        if live.is_empty() || (live.len() < MOST_DEVICES && what < 20) {
            return self.login(wire).await;
        }
        let chosen = live[usize::try_from(self.dice.roll(live.len() as u64)).unwrap()];
        if what >= 97 && self.ends_all {
            return self.end_all(wire, chosen, &live).await;
        }
        let entry = &mut self.entries[chosen];
        let ask = |method, path: &str| wire.ask(method, path).header("cookie", &entry.cookie);
        let (asked, request, expected) = match what {
            0..50 => (Asked::Refresh, ask(Method::POST, "/v1/session/refresh"), StatusCode::OK),
            50..75 => {
                if what < 55 {
                    wire.demo.forget_access_tokens();
                }
                (Asked::Refresh, ask(Method::GET, "/api/protected"), StatusCode::OK)
            }
            75..90 => {
                let label = format!("label {}", self.dice.roll(u64::MAX));
                let path = format!("/v1/devices/{}", entry.device);
                let request = ask(Method::PATCH, &path).json(&json!({ "label": label }));
                (Asked::Label(label), request, StatusCode::OK)
            }
            _ => {
                let request = ask(Method::POST, "/v1/logout");
                (Asked::End(Ending::Logout), request, StatusCode::NO_CONTENT)
            }
        };
        entry.asked = Some(asked);
        let answer = wire.send(request).await?;
        let status = answer.status();
        if status == StatusCode::SERVICE_UNAVAILABLE && wire.killed.load(Ordering::SeqCst) {
            return None;
        }
        // Somebody else made the upstream forget the renewed token, too: that is its own 401.
        let upstreams = status == StatusCode::UNAUTHORIZED && !is_problem(&answer);
        if status != expected && !upstreams {
            panic!("{:?} was answered {status}: {:?}", entry, answer.text().await);
        }
        match entry.asked.take()? {
            Asked::Refresh => {}
            Asked::Label(label) => entry.label = Some(label),
            Asked::End(ending) => entry.ended = Some(ending),
        }
        Some(())
    }

    /// Ends all sessions, or all but the one that asks: at once, or none.
    async fn end_all(&mut self, wire: &Wire, asking: usize, live: &[usize]) -> Option<()> {
        let keeps_asking = self.dice.roll(2) == 0;
        let path = if keeps_asking { "/v1/devices?except=current" } else { "/v1/devices" };
        let request = wire.ask(Method::DELETE, path).header("cookie", &self.entries[asking].cookie);
        let ending: Vec<usize> =
            live.iter().copied().filter(|index| !keeps_asking || *index != asking).collect();
        for index in &ending {
            self.entries[*index].asked = Some(Asked::End(Ending::WithOthers));
        }
        let answer = wire.send(request).await?;
        if wire.killed.load(Ordering::SeqCst) && answer.status() != StatusCode::OK {
            return None;
        }
        assert_eq!(answer.status(), StatusCode::OK);
        for index in &ending {
            let entry = &mut self.entries[*index];
            (entry.asked, entry.ended) = (None, Some(Ending::WithOthers));
        }
        // Those go, too, whose login was not answered.
        let ended = ending.len() + std::mem::take(&mut self.strangers);
        match answer.json::<EndedBody>().await {
            Ok(body) => assert_eq!(body.ended, ended),
            Err(error) => assert!(wire.killed.load(Ordering::SeqCst), "half an answer: {error:?}"),
        }
        Some(())
    }

    pub async fn login(&mut self, wire: &Wire) -> Option<()> {
        self.logins_asked += 1;
        let body = json!({ "email": self.email, "password": PASSWORD });
        let answer = wire.send(wire.ask(Method::POST, "/v1/login").json(&body)).await?;
        if wire.killed.load(Ordering::SeqCst) && answer.status() != StatusCode::OK {
            return None;
        }
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = cookie_of(&answer).unwrap();
        let device = device_of(&cookie).parse().unwrap();
        self.entries.push(Entry::new(cookie, device));
        self.logins_asked -= 1;
        Some(())
    }

    /// Checks every session against the ledger, and the list of devices against both; returns
    /// how many sessions were interrupted, and goes on with those that work.
    pub async fn check(mut self, wire: Wire, key: String) -> (Self, u64) {
        let mut interrupted = 0;
        let mut kept = Vec::new();
        let mut ended_together = Vec::new();
        for mut entry in std::mem::take(&mut self.entries) {
            let found = find(&wire, &entry).await;
            let fate = entry.judge(&found).unwrap_or_else(|broken| panic!("{broken}"));
            if entry.asked == Some(Asked::End(Ending::WithOthers)) {
                ended_together.push(fate);
            }
            match fate {
                Fate::GoesOn => {
                    if let Found::Alive { label } = found {
                        entry.label = label;
                    }
                    entry.asked = None;
                    kept.push(entry);
                }
                Fate::Ended => {}
                Fate::Interrupted => interrupted += 1,
            }
        }
        ended_together.dedup();
        assert!(ended_together.len() <= 1, "some of those that end at once: {ended_together:?}");
        let query = [("email", &self.email)];
        let devices = wire.ask(Method::GET, "/v1/admin/devices").query(&query).bearer_auth(key);
        let devices: DevicesBody = wire.send(devices).await.unwrap().json().await.unwrap();
        let known = |device| kept.iter().any(|entry| entry.device == device);
        let strangers = devices.devices.iter().filter(|device| !known(device.device_id)).count();
        assert_eq!(devices.devices.len() - strangers, kept.len(), "the list has what is there");
        // A login that was stored and not answered may be there, whole.
        assert!(strangers <= self.logins_asked + self.strangers, "{strangers} strangers");
        self.entries = kept;
        (self.strangers, self.logins_asked) = (strangers, 0);
        (self, interrupted)
    }
}

/// What became of a session: used once more, with a token that the upstream has not seen.
async fn find(wire: &Wire, entry: &Entry) -> Found {
    // Whoever lists the devices completes an end that was begun before the kill: the session may be
    // over by then.
    let found = async {
        loop {
            if let Some(found) = look(wire, entry).await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE * 3, found).await.unwrap()
}

/// What the server says of a session; absent if it cannot tell yet, or the session is not in its
/// own list.
async fn look(wire: &Wire, entry: &Entry) -> Option<Found> {
    let ask = |path: &str| wire.send(wire.ask(Method::GET, path).header("cookie", &entry.cookie));
    let answer = ask("/api/protected").await.unwrap();
    match answer.status() {
        // On a busy machine the auth server may answer late; that ends no session. A refresh of a
        // server that is gone holds its lease to the end, if others share the store.
        StatusCode::SERVICE_UNAVAILABLE => None,
        StatusCode::OK => {
            let devices = ask("/v1/devices").await.unwrap();
            if devices.status() != StatusCode::OK {
                return None;
            }
            let devices: DevicesBody = devices.json().await.unwrap();
            let own = devices.devices.into_iter().find(|device| device.current)?;
            Some(Found::Alive { label: own.label })
        }
        _ => {
            assert!(is_problem(&answer), "the upstream refuses the token of {entry:?}");
            let problem: Problem = answer.json().await.unwrap();
            assert_eq!(problem.status, 401, "{problem:?}");
            Some(Found::Over { reason: problem.reason.unwrap_or_else(|| "unknown".to_owned()) })
        }
    }
}

fn is_problem(answer: &Response) -> bool {
    answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json")
}

pub const PASSWORD: &str = "right";
const MOST_DEVICES: usize = 4;
