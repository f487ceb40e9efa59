//! Where an administrator's command acts: on the store itself, or on a running server.

use anyhow::{Context as _, anyhow};
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokenkeep_core::wire::Problem;
use zeroize::Zeroizing;

use super::Failure;

/// Where to act.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// Ask the server that runs at this address, e.g. http://127.0.0.1:8480, with the service key
    /// in TOKENKEEP_SERVICE_KEY. Without it, the store is opened, and no server may run on it.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<Url>,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct RunningServer {
    client: reqwest::Client,
    base: Url,
    key: Zeroizing<String>,
}

impl RunningServer {
    pub(crate) fn at(base: Url) -> Result<Self, Failure> {
        let key = std::env::var("TOKENKEEP_SERVICE_KEY")
            .map(Zeroizing::new)
            .context("TOKENKEEP_SERVICE_KEY must hold a service key (`tokenkeep keys add`)")?;
        let client = tokenkeep_server::assembly::http_client().map_err(Failure::unavailable)?;
        Ok(Self { client, base, key })
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.carry(self.request(method, path)?.query(query)).await
    }

    /// Sends one request with a body and reads its answer.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.carry(self.request(method, path)?.json(body)).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let url = self.base.join(path).context("the address of the server")?;
        Ok(self.client.request(method, url).bearer_auth(self.key.as_str()))
    }

    async fn carry<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let answer = request.send().await.map_err(|error| {
            Failure::unavailable(anyhow!(error.without_url()).context("the server does not answer"))
        })?;
        let status = answer.status();
        let body = answer.bytes().await.context("the answer broke off")?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body).context("the answer is not understood")?);
        }
        let said = serde_json::from_slice::<Problem>(&body).map(|problem| problem.detail);
        Err(anyhow!("the server said {status}: {}", said.unwrap_or_default()).into())
    }
}
