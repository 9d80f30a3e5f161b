//! `rollcall probe`: asks a process of this machine how it is, for health checks of containers, where no other program is.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{
    cli::{Aspect, Probe},
    output::say,
};

/// A process that takes longer to say how it is, is not well.
const LIMIT: Duration = Duration::from_secs(3);

/// An answer is a short JSON object.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// Exit code 0 where the process says that it is well, else 1 and what it says.
pub(crate) fn probe(args: &Probe) -> anyhow::Result<ExitCode> {
    let path = match args.aspect {
        Aspect::Startup => "/health/startup",
        Aspect::Live => "/health/live",
        Aspect::Ready => "/health/ready",
    };
    let answer = ask(args.address, path).with_context(|| format!("asking http://{}{path}", args.address))?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the answer of {path} is no HTTP") };
    say!("{}", body.trim())?;
    let status = head.split_whitespace().nth(1);
    Ok(if status == Some("200") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything the server sends until it closes: HTTP 1.0 knows neither chunks nor connections kept open.
fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Answers once; what was asked.
    fn server(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        (address, asked)
    }

    fn code(answer: &'static str) -> String {
        let (address, asked) = server(answer);
        let code = probe(&Probe { aspect: Aspect::Ready, address }).unwrap();
        assert!(asked.join().unwrap().starts_with("GET /health/ready HTTP/1.0\r\n"));
        format!("{code:?}")
    }

    #[test]
    fn the_exit_code_is_what_the_process_says() {
        let success = format!("{:?}", ExitCode::SUCCESS);
        let well = "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"ok\":true,\"reasons\":[]}";
        assert_eq!(code(well), success);
        let unwell = "HTTP/1.0 503 Service Unavailable\r\n\r\n{\"ok\":false,\"reasons\":[\"draining\"]}";
        assert_ne!(code(unwell), success);
    }

    #[test]
    fn nobody_there_is_an_error_that_names_the_address() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = probe(&Probe { aspect: Aspect::Live, address }).unwrap_err();
        assert!(error.to_string().contains(&format!("http://{address}/health/live")), "{error}");
    }
}
