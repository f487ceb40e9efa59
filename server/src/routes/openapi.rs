//! The description of the server for programs, and what holds it true.

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use warp::Reply as _;

use crate::reply::Answer;

/// The document, an OpenAPI 3.1 description.
pub(super) async fn document() -> Answer {
    let mut response = DOCUMENT.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

const DOCUMENT: &str = include_str!("../openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;
    use tokenkeep_core::EndReason;
    use tokenkeep_core::wire::{self, ErrorCode};

    use super::*;
    use crate::routes::{METHODS, METHODS_OF_A_DEVICE, authz, oauth2};

    fn read() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// The paths with the methods that each is documented with.
    fn documented(document: &Value) -> BTreeMap<&str, BTreeSet<String>> {
        let paths = document["paths"].as_object().unwrap().iter();
        let of = |item: &Value| {
            let keys = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            keys.map(|key| key.to_ascii_uppercase()).collect()
        };
        paths.map(|(path, item)| (path.as_str(), of(item))).collect()
    }

    fn words(value: &Value) -> BTreeSet<&str> {
        value["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    #[test]
    fn every_route_is_documented_and_nothing_else() {
        let document = read();
        let one_device = format!("{}/{{id}}", wire::DEVICES);
        let any_path = format!("{}/{{path}}", authz::ENVOY);
        let routes = METHODS.iter().copied().chain([
            (one_device.as_str(), METHODS_OF_A_DEVICE),
            // They take any method, and say so.
            (authz::NGINX, "GET"),
            (authz::FORWARD, "GET"),
            (oauth2::AUTH, "GET"),
            (any_path.as_str(), "GET"),
        ]);
        // The document says once that HEAD is taken where GET is.
        let methods = |text: &str| {
            text.split(", ").filter(|method| *method != "HEAD").map(str::to_owned).collect()
        };
        let routes = routes.map(|(path, text)| (path, methods(text))).collect();
        assert_eq!(documented(&document), routes);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = read();
        let items = document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let operations: Vec<&Value> = operations.filter(|item| item.is_object()).collect();
        let names: BTreeSet<_> = operations.iter().map(|it| it["operationId"].as_str()).collect();
        assert!(names.len() == operations.len() && !names.contains(&None));
    }

    #[test]
    fn the_codes_of_problems_are_documented() {
        let document = read();
        // serde names all words that it would have taken.
        let refusal = serde_json::from_str::<ErrorCode>("\"?\"").unwrap_err().to_string();
        let codes: BTreeSet<&str> = refusal.split('`').skip(3).step_by(2).collect();
        assert!(codes.contains("bad_request") && codes.contains("internal"), "{refusal}");
        assert_eq!(words(&document["components"]["schemas"]["Code"]), codes);
    }

    #[test]
    fn the_reasons_why_sessions_end_are_documented() {
        let document = read();
        let reasons = EndReason::ALL.map(EndReason::as_str).into_iter().collect();
        assert_eq!(words(&document["components"]["schemas"]["EndReason"]), reasons);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(document: &Value, value: &Value, used: &mut BTreeSet<String>) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
                used.insert(pointer.to_owned());
            }
            match value {
                Value::Object(fields) => fields.values().for_each(|it| walk(document, it, used)),
                Value::Array(items) => items.iter().for_each(|it| walk(document, it, used)),
                _ => {}
            }
        }
        let (document, mut used) = (read(), BTreeSet::new());
        walk(&document, &document, &mut used);
        // The data of events is text to OpenAPI, so nothing can refer to its schema.
        used.insert("/components/schemas/Event".to_owned());
        for kind in ["headers", "parameters", "requestBodies", "responses", "schemas"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                let pointer = format!("/components/{kind}/{name}");
                assert!(used.contains(&pointer), "{pointer} is used nowhere");
            }
        }
    }
}
