//! Addresses for programs that are told where to listen.

use std::net::{SocketAddr, TcpListener};

/// Different addresses of this machine that nobody listens on. Below those that the kernel hands out by itself: an outgoing
/// connection could take one of these before it is used. Above those that `free_ports` of `deploy/lib/services.sh` chooses from.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| free_listener());
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}

fn free_listener() -> TcpListener {
    let tried = std::iter::repeat_with(|| TcpListener::bind(("127.0.0.1", fastrand::u16(28_000..32_000))));
    tried.take(1_000).find_map(Result::ok).expect("a free port")
}
