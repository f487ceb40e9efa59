//! Holds answers against the document: status, media type, headers that must be there, and body.

use std::sync::OnceLock;

use reqwest::{Method, Response};
use serde_json::Value;

/// What the server documents of itself.
pub struct Contract(Value);

/// An answer that was seen.
pub struct Seen {
    path: String,
    status: u16,
    headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    /// An answer to a request for `path`, without its body.
    pub fn of(answer: &Response, path: &str) -> Self {
        let path = path.split('?').next().unwrap().to_owned();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self { path, status, headers, body: Vec::new() }
    }
}

/// The contract of this server.
pub fn contract() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    let read =
        || Contract(serde_json::from_str(include_str!("../../../src/openapi.json")).unwrap());
    CONTRACT.get_or_init(read)
}

impl Contract {
    /// Every operation as `METHOD path`, sorted.
    pub fn operations(&self) -> Vec<String> {
        let paths = self.0["paths"].as_object().unwrap();
        let mut all = Vec::new();
        for (path, item) in paths {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            all.extend(methods.map(|method| format!("{} {path}", method.to_ascii_uppercase())));
        }
        all.sort();
        all
    }

    /// Checks an answer to `method`.
    #[track_caller]
    pub fn check(&self, method: &Method, seen: &Seen) {
        let item = self.item(&seen.path).unwrap_or_else(|| panic!("{} is not there", seen.path));
        let operation = &item[method.as_str().to_ascii_lowercase()];
        if let Err(wrong) = self.fits(operation, seen) {
            panic!("{method} {}: {}: {wrong}", seen.path, seen.status);
        }
    }

    /// Checks a problem, whatever the method was; what holds for every path is not repeated there.
    #[track_caller]
    pub fn check_problem(&self, seen: &Seen) {
        let body = serde_json::from_slice(&seen.body).unwrap();
        let problem = &self.0["components"]["schemas"]["Problem"];
        assert_eq!(self.valid(problem, &body), Ok(()), "{}", seen.path);
        let Some(item) = self.item(&seen.path) else { return };
        if matches!(seen.status, 404 | 405) {
            return;
        }
        let operations = item.as_object().unwrap().values().filter(|it| it.is_object());
        let wrong: Vec<String> =
            operations.map(|it| self.fits(it, seen)).filter_map(Result::err).collect();
        let all = item.as_object().unwrap().values().filter(|it| it.is_object()).count();
        assert!(wrong.len() < all, "{}: {}: {wrong:?}", seen.path, seen.status);
    }

    /// What is documented at `path`.
    fn item(&self, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object().unwrap();
        let matches = |pattern: &str| match pattern.split_once('{') {
            None => pattern == path,
            Some((prefix, "id}")) => path.strip_prefix(prefix).is_some_and(|id| !id.contains('/')),
            Some((prefix, _)) => path.starts_with(prefix),
        };
        paths.iter().find(|(pattern, _)| matches(pattern)).map(|(_, item)| item)
    }

    fn fits(&self, operation: &Value, seen: &Seen) -> Result<(), String> {
        let response = operation["responses"].get(seen.status.to_string());
        let response = self.resolved(response.ok_or("the status is not documented")?);
        let none = serde_json::Map::new();
        for (name, value) in response["headers"].as_object().unwrap_or(&none) {
            let required = self.resolved(value)["required"] == true;
            if required && !seen.headers.contains_key(name.as_str()) {
                return Err(format!("{name} is missing"));
            }
        }
        let kind = seen.headers.get("content-type").map(|kind| kind.to_str().unwrap());
        let content = response["content"].as_object().unwrap_or(&none);
        let Some(kind) = kind else {
            return if content.is_empty() { Ok(()) } else { Err("no media type".into()) };
        };
        let documented = content.get(kind).ok_or_else(|| format!("{kind} is not documented"))?;
        if kind == "text/event-stream" {
            return Ok(());
        }
        let body = serde_json::from_slice(&seen.body).map_err(|error| error.to_string())?;
        self.valid(&documented["schema"], &body)
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.0.pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }

    /// As much of JSON Schema as the answers of the document use.
    fn valid(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolved(schema);
        let wrong = |what: &str| Err(format!("{value} is not {what} of {schema}"));
        if schema.get("const").is_some_and(|only| only != value) {
            return wrong("the one value");
        }
        let in_list = |list: &Value| list.as_array().unwrap().contains(value);
        if schema.get("enum").is_some_and(|list| !in_list(list)) {
            return wrong("one of the values");
        }
        let is = |kind: &Value| match kind.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64(),
            "null" => value.is_null(),
            other => panic!("{other} is not understood here"),
        };
        let typed = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().any(is),
            Some(kind) => is(kind),
            None => true,
        };
        if !typed {
            return wrong("of the type");
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.map(|name| name.as_str().unwrap()) {
            if value.get(name).is_none() {
                return wrong(name);
            }
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            match schema["properties"].get(name) {
                Some(schema) => self.valid(schema, field)?,
                None if schema["additionalProperties"] == false => return wrong(name),
                None => {}
            }
        }
        let items = value.as_array().filter(|_| schema.get("items").is_some());
        items.into_iter().flatten().try_for_each(|item| self.valid(&schema["items"], item))
    }
}
