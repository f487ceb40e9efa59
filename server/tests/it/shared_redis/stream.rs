//! A stream of server-sent events, read as text.

use reqwest::{Response, StatusCode};

use crate::world::PATIENCE;

pub(super) struct Stream {
    answer: Response,
    /// What was told and not looked at.
    text: String,
}

impl Stream {
    pub(super) fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), StatusCode::OK);
        Self { answer, text: String::new() }
    }

    /// Reads on until `what` is told; returns what came before it.
    pub(super) async fn tells(&mut self, what: &str) -> String {
        let reading = async {
            loop {
                if let Some((before, after)) = self.text.split_once(what) {
                    let (before, after) = (before.to_owned(), after.to_owned());
                    self.text = after;
                    return before;
                }
                let more = self.answer.chunk().await.unwrap();
                self.text.push_str(&String::from_utf8_lossy(&more.expect("the stream goes on")));
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    /// Reads on to the end.
    pub(super) async fn ends(&mut self) {
        let reading = async { while self.answer.chunk().await.unwrap().is_some() {} };
        tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends");
    }
}
