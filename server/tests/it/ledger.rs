//! What a server that will be killed has answered, written down outside of it.

use tokenkeep_core::DeviceId;

/// A session whose login was answered.
#[derive(Debug)]
pub struct Entry {
    pub cookie: String,
    pub device: DeviceId,
    /// The label that was answered last.
    pub label: Option<String>,
    /// What ended it, once that was answered.
    pub ended: Option<Ending>,
    /// What was asked for and not answered.
    pub asked: Option<Asked>,
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Refresh,
    Label(String),
    End(Ending),
}

/// What ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The session itself.
    Logout,
    /// Its user, with other sessions at once.
    WithOthers,
}

impl Ending {
    /// What the next answer says of it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::WithOthers => "ended_by_user",
        }
    }
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
        Self { cookie, device, label: None, ended: None, asked: None }
    }

    /// Whether what was found is allowed by what was answered and what was asked.
    pub fn judge(&self, found: &Found) -> Result<Fate, String> {
        let under_way = self.asked.as_ref();
        match found {
            Found::Alive { .. } if self.ended.is_some() => {
                Err(self.broken("an answered end is undone", found))
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
            Found::Over { reason } => match (self.ended, under_way) {
                (Some(ending), _) | (None, Some(&Asked::End(ending)))
                    if reason == ending.reason() =>
                {
                    Ok(Fate::Ended)
                }
                (None, Some(Asked::Refresh)) if reason == "interrupted" => Ok(Fate::Interrupted),
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
    fn check(ended: Option<Ending>, asked: Option<Asked>, found: &Found, fate: Option<Fate>) {
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
    let endings = [Ending::Logout, Ending::WithOthers];
    let asked = endings.map(|ending| Some(Asked::End(ending)));
    for asked in asked.into_iter().chain([None, Some(Asked::Refresh), label()]) {
        check(None, asked.clone(), &alive(Some("old")), Some(Fate::GoesOn));
        check(None, asked.clone(), &alive(None), None);
        check(None, asked.clone(), &over("refused"), None);
        check(None, asked, &over("unknown"), None);
    }
    check(None, label(), &alive(Some("new")), Some(Fate::GoesOn));
    check(None, None, &alive(Some("new")), None);
    check(None, Some(Asked::Refresh), &over("interrupted"), Some(Fate::Interrupted));
    check(None, None, &over("interrupted"), None);
    check(None, label(), &over("interrupted"), None);
    check(None, Some(Asked::Refresh), &over("logout"), None);
    for ending in endings {
        let asked = || Some(Asked::End(ending));
        check(None, asked(), &over(ending.reason()), Some(Fate::Ended));
        check(Some(ending), None, &over(ending.reason()), Some(Fate::Ended));
        check(Some(ending), None, &alive(Some("old")), None);
        check(Some(ending), None, &over("interrupted"), None);
    }
    check(None, Some(Asked::End(Ending::Logout)), &over("ended_by_user"), None);
    check(Some(Ending::WithOthers), None, &over("logout"), None);
}
