//! The auth server's own words: the error code that decides, and the detail for the user.

use serde_json::{Map, Value};

/// The longest detail in characters.
const MAX_CHARS: usize = 300;
/// A secret shorter than this is found in ordinary words.
const MIN_SECRET_LEN: usize = 4;

/// The OAuth error code, if it is one that decides something. Frameworks that wrap every error
/// have it one level down, in `detail`.
pub(super) fn error_code(json: &Map<String, Value>) -> Option<&'static str> {
    let wrapped = json.get("detail").and_then(|detail| detail.get("error"));
    let code = json.get("error").or(wrapped)?.as_str()?;
    CODES.iter().copied().find(|known| *known == code)
}

/// What to tell the user after a refusal, unless it repeats `secret`.
///
/// `detail` is a text, or a list of findings as FastAPI's validation makes it, of which only
/// the `msg` is taken: beside it lies what was sent.
pub(super) fn detail(json: &Map<String, Value>, secret: &str) -> Option<String> {
    let words = match json.get("detail") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(findings)) => {
            let words = findings.iter().filter_map(|finding| finding.get("msg")?.as_str());
            words.take(5).collect::<Vec<_>>().join("; ")
        }
        Some(Value::Object(inner)) => first_text(inner, &["message", "error_description"])?,
        _ => first_text(json, &["error_description", "message"])?,
    };
    clean(&words, secret)
}

/// What to tell the user after a success, unless it repeats `secret`.
pub(super) fn message(json: &Map<String, Value>, secret: &str) -> Option<String> {
    clean(&first_text(json, &["message", "detail"])?, secret)
}

fn first_text(json: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| json.get(*name)?.as_str()).map(str::to_owned)
}

fn clean(words: &str, secret: &str) -> Option<String> {
    if secret.len() >= MIN_SECRET_LEN && words.contains(secret) {
        return None;
    }
    let kept: String = words.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// The codes that decide something (RFC 6749, 5.2).
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_detail_is_words_for_a_user_and_nothing_else() {
        let long = "x".repeat(1000);
        for (body, expected) in [
            (json!({"detail": "Wrong password"}), Some("Wrong password")),
            (json!({"detail": " a\r\nSet-Cookie: b\u{1b}[31m "}), Some("aSet-Cookie: b[31m")),
            (
                json!({"detail": [{"msg": "too short", "input": "canary"}, {"msg": "no"}]}),
                Some("too short; no"),
            ),
            (json!({"detail": {"message": "locked"}}), Some("locked")),
            (json!({"error": "invalid_grant", "error_description": "expired"}), Some("expired")),
            (json!({"detail": 7}), None),
            (json!({"detail": ""}), None),
            (json!({"detail": "the password canary is wrong"}), None),
            (json!({"detail": long}), Some(&*"x".repeat(300))),
            (json!({}), None),
        ] {
            let body = body.as_object().unwrap();
            assert_eq!(detail(body, "canary").as_deref(), expected, "{body:?}");
        }
    }
}
