//! What a server that will be killed has answered, written down outside of it.

use tokenkeep_core::DeviceId;

/// A session whose login was answered.
#[derive(Debug)]
pub struct Entry {
    pub cookie: String,
    pub device: DeviceId,
    /// The label that was answered last.
    pub label: Option<String>,
    /// The logout was answered.
    pub ended: bool,
    /// What was asked for and not answered.
    pub asked: Option<Asked>,
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Refresh,
    Label(String),
    Logout,
}

/// What became of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It works, with a pair that the auth server takes, and has this label.
    Alive { label: Option<String> },
    /// It is over, for this reason.
    Over { reason: String },
}

/// What may become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    Ended,
    /// The refresh that was under way has spent the refresh token, and its answer is lost.
    Interrupted,
}

impl Entry {
    pub fn new(cookie: String, device: DeviceId) -> Self {
        Self { cookie, device, label: None, ended: false, asked: None }
    }

    /// Whether what was found is allowed by what was answered and what was asked.
    pub fn judge(&self, found: &Found) -> Result<Fate, String> {
        let under_way = self.asked.as_ref();
        match found {
            Found::Alive { .. } if self.ended => {
                Err(self.broken("an answered logout is undone", found))
            }
            Found::Alive { label } => {
                let asked = under_way.and_then(|asked| match asked {
                    Asked::Label(label) => Some(label),
                    _ => None,
                });
                let kept = *label == self.label || (label.is_some() && label.as_ref() == asked);
                if kept {
                    Ok(Fate::GoesOn)
                } else {
                    Err(self.broken("an answered label is lost", found))
                }
            }
            Found::Over { reason } => match (reason.as_str(), under_way) {
                ("logout", Some(Asked::Logout)) => Ok(Fate::Ended),
                ("logout", _) if self.ended => Ok(Fate::Ended),
                ("interrupted", Some(Asked::Refresh)) if !self.ended => Ok(Fate::Interrupted),
                _ => Err(self.broken("an answered login or refresh is lost", found)),
            },
        }
    }

    fn broken(&self, what: &str, found: &Found) -> String {
        format!("{what}: {found:?} of {self:?}")
    }
}

#[test]
fn the_ledger_knows_what_a_crash_may_do() {
    #[track_caller]
    fn check(ended: bool, asked: Option<Asked>, found: &Found, fate: Option<Fate>) {
        let entry = Entry {
            label: Some("old".into()),
            ended,
            asked,
            ..Entry::new(String::new(), DeviceId::from_bytes([0; 16]))
        };
        assert_eq!(entry.judge(found).ok(), fate, "{entry:?}");
    }
    let alive = |label: Option<&str>| Found::Alive { label: label.map(str::to_owned) };
    let over = |reason: &str| Found::Over { reason: reason.to_owned() };
    let label = || Some(Asked::Label("new".into()));
    for asked in [None, Some(Asked::Refresh), Some(Asked::Logout), label()] {
        check(false, asked.clone(), &alive(Some("old")), Some(Fate::GoesOn));
        check(false, asked.clone(), &alive(None), None);
        check(false, asked.clone(), &over("refused"), None);
        check(false, asked, &over("unknown"), None);
    }
    check(false, label(), &alive(Some("new")), Some(Fate::GoesOn));
    check(false, None, &alive(Some("new")), None);
    check(false, Some(Asked::Refresh), &over("interrupted"), Some(Fate::Interrupted));
    check(false, None, &over("interrupted"), None);
    check(false, label(), &over("interrupted"), None);
    check(false, Some(Asked::Logout), &over("logout"), Some(Fate::Ended));
    check(false, Some(Asked::Refresh), &over("logout"), None);
    check(true, None, &over("logout"), Some(Fate::Ended));
    check(true, None, &alive(Some("old")), None);
    check(true, None, &over("interrupted"), None);
}
