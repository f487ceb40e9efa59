//! A wire to the auth server that takes down what goes over it: the tokens are nowhere else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Wiretap {
    pub address: SocketAddr,
    /// One transcript for each direction of each connection.
    heard: Transcripts,
    listening: JoinHandle<()>,
}

type Transcripts = Arc<Mutex<Vec<Vec<u8>>>>;

impl Wiretap {
    pub async fn on(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Transcripts::default();
        let transcripts = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(target).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(pass_on(near_in, far_out, Arc::clone(&transcripts)));
                tokio::spawn(pass_on(far_in, near_out, Arc::clone(&transcripts)));
            }
        });
        Self { address, heard, listening }
    }

    /// Every token that went over the wire: a prefix of three and 43 characters.
    pub fn tokens(&self) -> BTreeSet<String> {
        let heard = self.heard.lock().unwrap();
        let windows = heard.iter().flat_map(|transcript| transcript.windows(TOKEN_LEN));
        let tokens = windows.filter(|window| {
            let (prefix, rest) = window.split_at(3);
            [b"da_", b"dr_"].contains(&prefix.try_into().unwrap())
                && rest.iter().all(|b| b.is_ascii_alphanumeric() || [b'-', b'_'].contains(b))
        });
        tokens.map(|token| String::from_utf8(token.to_vec()).unwrap()).collect()
    }

    /// Whether `text` went over the wire.
    pub fn heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.iter().any(|transcript| String::from_utf8_lossy(transcript).contains(text))
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, transcripts: Transcripts) {
    let number = {
        let mut all = transcripts.lock().unwrap();
        all.push(Vec::new());
        all.len() - 1
    };
    let mut bytes = [0; 4096];
    while let Ok(length) = from.read(&mut bytes).await
        && length > 0
    {
        transcripts.lock().unwrap()[number].extend_from_slice(&bytes[..length]);
        if to.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
}

const TOKEN_LEN: usize = 46;
