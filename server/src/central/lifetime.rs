//! How long a token lives: as the answer says, as the token says, or as the settings say.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tokenkeep_core::Timestamp;

/// What the settings allow a life to be.
pub(super) struct Bounds {
    pub(super) default: Duration,
    pub(super) longest: Duration,
}

impl Bounds {
    /// The life for what was stated: at least a second, at most the longest.
    pub(super) fn of(&self, stated: Option<f64>) -> Duration {
        let longest = self.longest.as_secs_f64();
        let life = stated.and_then(|s| Duration::try_from_secs_f64(s.min(longest)).ok());
        life.unwrap_or(self.default).min(self.longest).max(Duration::from_secs(1))
    }
}

/// The seconds that a token is said to live: `seconds` of the answer, else the token's own claims.
///
/// Zero, negative and absurd numbers say nothing; some servers write 0 for "without end".
pub(super) fn stated(seconds: Option<&Value>, token: &str, now: Timestamp) -> Option<f64> {
    seconds.and_then(number).filter(|seconds| *seconds > 0.0).or_else(|| claimed(token, now))
}

/// The life in a JWT's claims. The signature is not looked at: a wrong claim costs a refresh that
/// is too early or too late, which the flow stands either way, and nothing else hangs on it.
fn claimed(token: &str, now: Timestamp) -> Option<f64> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
    let expires_at = claims.get("exp").and_then(number)?;
    // With the issuer's own start of the life, the two clocks need not agree.
    let from = claims.get("iat").and_then(number).unwrap_or_else(|| seconds_of(now));
    Some(expires_at - from).filter(|life| *life > 0.0)
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

fn seconds_of(instant: Timestamp) -> f64 {
    instant.duration_since(Timestamp::default()).as_secs_f64()
}

/// A token, or the answer's number before a line break and then a token: its life is bounded.
#[cfg(feature = "testing")]
pub(crate) fn check_token_life(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (number, token) = text.split_once('\n').unwrap_or(("", text));
    let number: Option<Value> = serde_json::from_str(number).ok();
    let bounds = Bounds { default: Duration::from_secs(120), longest: Duration::from_secs(3600) };
    let life = bounds.of(stated(number.as_ref(), token, Timestamp::from_unix_seconds(1_000_000)));
    assert!((Duration::from_secs(1)..=bounds.longest).contains(&life));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);

    fn jwt(claims: &Value) -> String {
        format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[track_caller]
    fn check(seconds: &Value, token: &str, expected_millis: u64) {
        let bounds =
            Bounds { default: Duration::from_secs(120), longest: Duration::from_secs(3600) };
        let life = bounds.of(stated(Some(seconds), token, NOW));
        assert_eq!(life, Duration::from_millis(expected_millis), "{seconds} {token}");
    }

    #[test]
    fn the_answer_comes_first_and_is_bounded() {
        let token = jwt(&json!({"exp": 1_000_500}));
        for (seconds, millis) in [
            (json!(60), 60_000),
            (json!(60.5), 60_500),
            (json!("60"), 60_000),
            (json!(" 60.5 "), 60_500),
            (json!(0.001), 1_000),
            (json!(1e300), 3_600_000),
            (json!(u64::MAX), 3_600_000),
        ] {
            check(&seconds, &token, millis);
        }
    }

    #[test]
    fn what_says_nothing_leaves_it_to_the_token() {
        let token = jwt(&json!({"exp": 1_000_500}));
        for seconds in [
            json!(0),
            json!(-5),
            json!("NaN"),
            json!("inf"),
            json!(""),
            json!(null),
            json!([60]),
            json!(true),
        ] {
            check(&seconds, &token, 500_000);
        }
    }

    #[test]
    fn the_token_comes_second_and_is_bounded() {
        for (claims, millis) in [
            (json!({"exp": 1_000_500, "iat": 1_000_200}), 300_000),
            (json!({"exp": 9_000_300, "iat": 9_000_000}), 300_000),
            (json!({"exp": 1_000_500, "iat": "soon"}), 500_000),
            (json!({"exp": 1_000_500, "iat": 1_000_600}), 120_000),
            (json!({"exp": 999_999}), 120_000),
            (json!({"exp": -1}), 120_000),
            (json!({"exp": 1e300}), 3_600_000),
            (json!({"exp": {}}), 120_000),
            (json!({}), 120_000),
            (json!([]), 120_000),
        ] {
            check(&json!(null), &jwt(&claims), millis);
        }
        for token in ["opaque", "a.b", "..", "a.!.c", "a.e30.c.d", "a.e30.c"] {
            check(&json!(null), token, 120_000);
        }
    }

    #[test]
    fn a_default_over_the_longest_life_is_cut() {
        let bounds = Bounds { default: Duration::from_secs(9), longest: Duration::from_secs(5) };
        assert_eq!(bounds.of(None), Duration::from_secs(5));
    }
}
