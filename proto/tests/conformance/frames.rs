//! What a client sends to a broker, method by method.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

/// Class and method, as AMQP numbers them.
pub type Method = (u16, u16);

/// Opens a channel.
pub const CHANNEL_OPEN: Method = (20, 10);
/// Closes a channel.
pub const CHANNEL_CLOSE: Method = (20, 40);
/// Ends a consumer whose channel stays.
pub const BASIC_CANCEL: Method = (60, 30);

/// "AMQP" and the version, before the first frame.
const GREETING: usize = 8;
/// A frame's type, channel, size and end, around its payload.
const AROUND: usize = 8;
/// The type of a frame that is a method.
const METHOD: u8 = 1;

/// A way to the broker that writes down all methods, each with its connection and channel.
#[derive(Clone, Default)]
pub struct Frames(Arc<Mutex<Vec<(SocketAddr, u16, Method)>>>);

impl Frames {
    /// Passes on to `broker`, from a port of its own.
    pub async fn before(broker: SocketAddr) -> (Self, u16) {
        let frames = Self::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listening = frames.clone();
        tokio::spawn(async move {
            while let Ok((client, from)) = listener.accept().await {
                let (mut answers, requests) = TcpStream::connect(broker).await.unwrap().into_split();
                let (client, mut back) = client.into_split();
                tokio::spawn(async move { copy(&mut answers, &mut back).await });
                tokio::spawn(listening.clone().pass_on(from, client, requests));
            }
        });
        (frames, port)
    }

    pub fn sent(&self) -> Vec<(SocketAddr, u16, Method)> {
        self.0.lock().unwrap().clone()
    }

    async fn pass_on(self, from: SocketAddr, mut client: OwnedReadHalf, mut broker: OwnedWriteHalf) {
        let (mut left, mut greeted) = (Vec::new(), false);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = client.read(&mut buffer).await {
            left.extend_from_slice(&buffer[..read]);
            if !greeted && left.len() >= GREETING {
                left.drain(..GREETING);
                greeted = true;
            }
            while let Some(length) = frame(&left).filter(|_| greeted) {
                self.note(from, &left[..length]);
                left.drain(..length);
            }
            if broker.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    fn note(&self, from: SocketAddr, frame: &[u8]) {
        let number = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        if frame[0] == METHOD {
            self.0.lock().unwrap().push((from, number(1), (number(7), number(9))));
        }
    }
}

/// The length of the frame at the beginning, where all of it is there.
fn frame(bytes: &[u8]) -> Option<usize> {
    let size: [u8; 4] = bytes.get(3..7)?.try_into().ok()?;
    let length = u32::from_be_bytes(size) as usize + AROUND;
    (bytes.len() >= length).then_some(length)
}
