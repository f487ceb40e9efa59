//! Reads answers: bounded in size, and without a word of their content in an error.

use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::transport)? {
        if body.len() + chunk.len() > limit {
            return Err(Error::unexpected(TooLarge { limit }));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads a JSON body.
pub(crate) async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let body = read(response, MAX_BODY_BYTES).await?;
    // The parser's own error quotes what it read, which may be a token.
    serde_json::from_slice(&body).map_err(|error| {
        Error::unexpected(Malformed { line: error.line(), column: error.column() })
    })
}

#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {limit} bytes")]
struct TooLarge {
    limit: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("the body is not the expected json, at line {line} column {column}")]
struct Malformed {
    line: usize,
    column: usize,
}

/// The largest answer that is read: a long list of devices.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
