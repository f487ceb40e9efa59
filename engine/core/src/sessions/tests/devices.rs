//! Several devices of a user, and what their users hear.

use super::*;
use crate::{Ceiling, CeilingPolicy, DeviceId};

#[tokio::test]
async fn a_user_ends_a_device_from_another_one() {
    let rig = Rig::new();
    let (first, second) = (rig.login(ADA).await, rig.login(ADA).await);
    assert_eq!(rig.sessions.devices(&second).await.unwrap().all.len(), 2);
    rig.sessions.end_device(&second, first.device_id()).await.unwrap();
    assert_eq!(over(rig.resume(&first).await), EndReason::EndedByUser);
    assert_eq!(rig.sessions.devices(&second).await.unwrap().all.len(), 1);
    let again = rig.sessions.end_device(&second, first.device_id()).await;
    assert!(matches!(again, Err(Error::NoSuchDevice)));
}

#[tokio::test]
async fn somebody_elses_device_is_no_device() {
    let rig = Rig::new();
    let (ada, bob) = (rig.login(ADA).await, rig.login(BOB).await);
    let nobody = DeviceId::from_bytes([1; 16]);
    for device in [bob.device_id(), nobody] {
        let ended = rig.sessions.end_device(&ada, device).await;
        assert!(matches!(ended, Err(Error::NoSuchDevice)));
        let labelled = rig.sessions.label_device(&ada, device, None).await;
        assert!(matches!(labelled, Err(Error::NoSuchDevice)));
    }
    assert!(rig.resume(&bob).await.is_ok());
}

#[tokio::test]
async fn all_others_end_and_then_all() {
    let rig = Rig::new();
    let (first, second) = (rig.login(ADA).await, rig.login(ADA).await);
    let bob = rig.login(BOB).await;
    assert_eq!(rig.sessions.end_devices(&second, true).await.unwrap(), 1);
    assert_eq!(over(rig.resume(&first).await), EndReason::EndedByUser);
    assert!(rig.resume(&second).await.is_ok());
    assert_eq!(rig.sessions.end_devices(&second, false).await.unwrap(), 1);
    assert!(rig.resume(&second).await.is_err());
    assert_eq!(rig.sessions.end_all_of(&BOB.parse().unwrap()).await.unwrap(), 1);
    assert_eq!(over(rig.resume(&bob).await), EndReason::EndedByService);
}

#[tokio::test]
async fn logging_out_twice_is_logging_out() {
    let rig = Rig::new();
    let credential = rig.login(ADA).await;
    rig.sessions.logout(&credential).await.unwrap();
    rig.sessions.logout(&credential).await.unwrap();
    rig.sessions.shutdown().await;
    assert_eq!(rig.issuer.revoked(), ["refresh-1-1"]);
}

/// A wrong clock said that there was nothing to log out of, and went back.
#[tokio::test]
async fn a_logout_by_a_wrong_clock_is_a_logout() {
    let rig = Rig::new();
    let right = rig.sessions.now();
    let (first, second) = (rig.login(ADA).await, rig.login(ADA).await);
    rig.clock.leap_to(right + Duration::from_secs(3650 * 86_400));
    assert!(!rig.sessions.logout(&first).await.unwrap());
    // Who logs in anew, or somebody else on the same browser, ends what was there, too.
    rig.login_with(BOB, Some(second.clone())).await.unwrap();
    rig.clock.leap_to(right);
    for credential in [&first, &second] {
        assert_eq!(over(rig.resume(credential).await), EndReason::Expired);
    }
}

#[tokio::test]
async fn the_ceiling_refuses_or_makes_place() {
    let two = std::num::NonZeroUsize::new(2).unwrap();
    for (policy, third) in
        [(CeilingPolicy::Reject, false), (CeilingPolicy::EvictLeastRecentlySeen, true)]
    {
        let ceiling = Some(Ceiling { devices: two, policy });
        let rig = Rig::with(Settings { ceiling, ..Settings::default() }, Rotation::Strict);
        let first = rig.login(ADA).await;
        rig.clock.advance(Duration::from_secs(1));
        rig.login(ADA).await;
        assert_eq!(rig.login_with(ADA, None).await.is_ok(), third, "{policy:?}");
        assert_eq!(rig.resume(&first).await.is_ok(), !third, "{policy:?}");
        let devices = rig.sessions.devices_of(&ADA.parse().unwrap()).await.unwrap();
        assert_eq!(devices.len(), 2, "{policy:?}");
    }
}

#[tokio::test]
async fn a_user_hears_of_logins_and_ends() {
    let rig = Rig::new();
    let mut listener = rig.sessions.subscribe(None).receiver;
    let first = rig.login(ADA).await;
    let second = rig.login(ADA).await;
    rig.sessions.end_device(&second, first.device_id()).await.unwrap();
    let mut heard = Vec::new();
    while let Ok(Heard::Event(event)) = listener.try_recv() {
        assert_eq!(event.email.as_str(), ADA);
        heard.push((event.device_id, event.kind));
    }
    assert!(matches!(
        heard.as_slice(),
        [
            (a, EventKind::LoggedIn(_)),
            (b, EventKind::LoggedIn(_)),
            (c, EventKind::LoggedOut(EndReason::EndedByUser))
        ] if *a == first.device_id() && *b == second.device_id() && a == c
    ));
}

#[tokio::test]
async fn a_listener_that_sleeps_does_not_block_the_flow() {
    let rig = Rig::new();
    let _asleep = rig.sessions.subscribe(None);
    for _ in 0..crate::event::KEPT_EVENTS + 10 {
        let credential = rig.login(ADA).await;
        rig.sessions.logout(&credential).await.unwrap();
    }
}
