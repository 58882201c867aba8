//! A proxy between a machine and a server, whose answers are lost, late or doubled, or which holds
//! everything for a while.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The meaning of the bytes, as far as a proxy knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Requests can be sent twice.
    Http,
    Bytes,
}

/// How many answers met which fate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fates {
    pub passed: usize,
    pub lost: usize,
    pub late: usize,
    pub doubled: usize,
}

struct State {
    protocol: Protocol,
    server: String,
    /// So many of a hundred answers are lost, late or doubled.
    percent: u8,
    random: fastrand::Rng,
    is_held: bool,
    fates: Fates,
}

/// The proxy. Its threads end with the process.
pub struct BadNetwork {
    /// Host and port.
    pub host: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Lost,
    Late,
    Doubled,
}

impl BadNetwork {
    pub fn start(protocol: Protocol, server: &str, percent: u8, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (random, fates) = (fastrand::Rng::with_seed(seed), Fates::default());
        let server = server.to_owned();
        let state = State { protocol, server, percent, random, is_held: false, fates };
        let shared = Arc::new(Shared { state: Mutex::new(state), released: Condvar::new() });
        let of_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&of_threads);
                std::thread::spawn(move || match protocol {
                    Protocol::Http => drop(shared.serve(&client)),
                    Protocol::Bytes => drop(shared.connect(&client)),
                });
            }
        });
        Self { host, shared }
    }

    /// Whether everything is held, in both directions, until it is released.
    pub fn hold(&self, is_held: bool) {
        self.shared.state.lock().unwrap().is_held = is_held;
        self.shared.released.notify_all();
    }

    pub fn fates(&self) -> Fates {
        self.shared.state.lock().unwrap().fates
    }
}

impl Shared {
    fn await_release(&self) {
        let state = self.state.lock().unwrap();
        drop(self.released.wait_while(state, |state| state.is_held).unwrap());
    }

    fn draw(&self) -> Fate {
        let mut state = self.state.lock().unwrap();
        let kinds = if state.protocol == Protocol::Http { 3 } else { 2 };
        let is_struck = state.random.u8(..100) < state.percent;
        let drawn = if is_struck { 1 + state.random.u8(..kinds) } else { 0 };
        match drawn {
            0 => state.fates.passed += 1,
            1 => state.fates.lost += 1,
            2 => state.fates.late += 1,
            _ => state.fates.doubled += 1,
        }
        [Fate::Passed, Fate::Lost, Fate::Late, Fate::Doubled][usize::from(drawn)]
    }

    fn delay(&self) {
        let span = self.state.lock().unwrap().random.u64(..50);
        std::thread::sleep(Duration::from_millis(span));
    }

    /// Passes one request on; `None` ends the connection.
    fn serve(&self, mut client: &TcpStream) -> Option<()> {
        let (request, is_watch) = request(client)?;
        self.await_release();
        let fate = self.draw();
        let mut server = self.send(&request)?;
        if fate == Fate::Doubled && !is_watch {
            std::io::copy(&mut server, &mut std::io::sink()).ok()?;
            server = self.send(&request)?;
        }
        let mut buffer = [0; 1 << 16];
        while let Ok(len @ 1..) = server.read(&mut buffer) {
            match fate {
                Fate::Lost if is_watch => return None,
                Fate::Lost => continue,
                Fate::Late => self.delay(),
                Fate::Passed | Fate::Doubled => {}
            }
            self.await_release();
            client.write_all(&buffer[..len]).ok()?;
        }
        None
    }

    fn send(&self, request: &[u8]) -> Option<TcpStream> {
        let server = self.state.lock().unwrap().server.clone();
        let mut server = TcpStream::connect(server).ok()?;
        server.write_all(request).ok()?;
        Some(server)
    }

    fn connect(self: &Arc<Self>, client: &TcpStream) -> Option<()> {
        self.await_release();
        let server = self.send(b"")?;
        let (there, back) = (server.try_clone().ok()?, client.try_clone().ok()?);
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.pump(&there, &back, true));
        self.pump(client, &server, false);
        Some(())
    }

    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, is_answer: bool) {
        let mut buffer = [0; 1 << 16];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            self.await_release();
            match if is_answer { self.draw() } else { Fate::Passed } {
                Fate::Lost => break,
                Fate::Late => self.delay(),
                Fate::Passed | Fate::Doubled => {}
            }
            if to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

/// Reads one request, for a connection of its own. The client learns of that by the answer. Returns
/// whether the answer has no end.
fn request(client: &TcpStream) -> Option<(Vec<u8>, bool)> {
    let mut reader = BufReader::new(client);
    let (mut head, mut len, mut first) = (Vec::new(), 0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        if line.trim_end().is_empty() {
            head.extend_from_slice(b"Connection: close\r\n\r\n");
            break;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        if !lower.starts_with("connection:") {
            head.extend_from_slice(line.as_bytes());
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    head.extend_from_slice(&body);
    Some((head, first.contains("/v3/watch")))
}
