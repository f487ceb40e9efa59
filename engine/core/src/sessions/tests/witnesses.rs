//! Who sees what is done.

use std::sync::Mutex;

use super::*;
use crate::{DeviceId, Email, Event, Origin, Witness};

#[derive(Default)]
struct Seen(Mutex<Vec<(DeviceId, String)>>);

impl Seen {
    #[track_caller]
    fn is(&self, expected: &[(&Credential, &str)]) {
        let seen = std::mem::take(&mut *self.0.lock().unwrap());
        let expected: Vec<_> =
            expected.iter().map(|(it, kind)| (it.device_id(), (*kind).to_owned())).collect();
        assert_eq!(seen, expected);
    }
}

impl Witness for Seen {
    fn saw(&self, device: DeviceId, email: &Email, kind: &EventKind) {
        assert_eq!(email.as_str(), ADA);
        self.0.lock().unwrap().push((device, format!("{kind:?}")));
    }
}

#[tokio::test]
async fn a_witness_sees_what_is_done_through_its_handle() {
    let rig = Rig::new();
    let (ada, other) = (rig.login(ADA).await, rig.login(ADA).await);
    let seen = Arc::new(Seen::default());
    let sessions = rig.sessions.seen_by(seen.clone());
    rig.outlive_access();
    sessions.resume(&ada).await.unwrap();
    seen.is(&[(&ada, "Refreshed")]);
    rig.sessions.logout(&other).await.unwrap();
    seen.is(&[]);
    sessions.logout(&ada).await.unwrap();
    seen.is(&[(&ada, "LoggedOut(Logout)")]);
}

#[tokio::test]
async fn one_refresh_has_one_witness_however_many_wait_for_it() {
    let rig = Rig::new();
    let ada = rig.login(ADA).await;
    rig.outlive_access();
    let seen = Arc::new(Seen::default());
    let waiting = (0..100).map(|_| {
        let (sessions, ada) = (rig.sessions.seen_by(seen.clone()), ada.clone());
        tokio::spawn(async move { sessions.resume(&ada).await.map(drop) })
    });
    for waited in waiting.collect::<Vec<_>>() {
        waited.await.unwrap().unwrap();
    }
    seen.is(&[(&ada, "Refreshed")]);
}

#[tokio::test]
async fn a_refresh_behind_a_request_is_seen_by_its_witness() {
    let rig = Rig::new();
    let ada = rig.login(ADA).await;
    rig.clock.advance(ACCESS_TTL - Duration::from_secs(1));
    let seen = Arc::new(Seen::default());
    rig.sessions.seen_by(seen.clone()).resume(&ada).await.unwrap();
    rig.let_tasks_run().await;
    seen.is(&[(&ada, "Refreshed")]);
}

#[tokio::test]
async fn what_happened_elsewhere_is_seen_elsewhere() {
    let rig = Rig::new();
    let ada = rig.login(ADA).await;
    let seen = Arc::new(Seen::default());
    let sessions = rig.sessions.seen_by(seen.clone());
    sessions.pass_on(Heard::Event(Event {
        number: 1,
        at: sessions.now(),
        email: ADA.parse().unwrap(),
        device_id: ada.device_id(),
        kind: EventKind::Refreshed,
        origin: Origin::Elsewhere,
    }));
    seen.is(&[]);
}
