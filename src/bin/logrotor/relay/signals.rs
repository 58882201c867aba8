//! Signals as bytes on sockets, which `poll` waits for together with the input.

use crate::exit::CommandError;
use crate::interrupt::{Ignored, take_over};
use rustix::event::{PollFd, PollFlags};
use signal_hook::consts::SIGCHLD;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

/// The reaction to a signal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read what is in the pipe, and end.
    End,
    /// Read until end of input or for the grace. A second time it is `End`.
    Finish,
    Reopen,
    Rotate,
    /// Pass the signal to the program.
    Forward(i32),
    /// Check whether the program has exited.
    CheckProgram,
}

/// The signals that the relay reacts to. A byte arrives on the socket of each.
pub(crate) struct Signals(Vec<(Action, UnixStream)>);

impl Signals {
    /// Registers these signals.
    ///
    /// Signals that would end the relay or are forwarded stay ignored if they were at the start, as
    /// under `nohup` or in the background of a script. The program inherits that.
    pub(crate) fn listen(signals: &[(i32, Action)]) -> Result<Self, CommandError> {
        let ignored = Ignored::read();
        let heeded = signals.iter().filter(|(signal, action)| {
            matches!(action, Action::Reopen | Action::Rotate)
                || *signal == SIGCHLD
                || !ignored.has(*signal)
        });
        let sockets = heeded.map(|(signal, action)| Ok((*action, register(*signal)?)));
        let sockets = sockets.collect::<io::Result<_>>();
        sockets.map(Self).map_err(|error| {
            CommandError::Failed(format!("failed to register signal handlers: {error}"))
        })
    }

    /// Adds an action that a byte on a socket asks for.
    pub(crate) fn add(&mut self, action: Action, socket: UnixStream) {
        self.0.push((action, socket));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN))
    }

    /// Returns the actions of the signals that have arrived. Several of one kind may count as one.
    pub(super) fn pending(&self) -> Vec<Action> {
        let has_arrived = |mut socket: &UnixStream| {
            let read = socket.read(&mut [0; 64]);
            matches!(read, Ok(read) if read > 0)
        };
        let arrived = self.0.iter().filter(|(_, socket)| has_arrived(socket));
        arrived.map(|(action, _)| *action).collect()
    }
}

fn register(signal: i32) -> io::Result<UnixStream> {
    let (socket, handler) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal, handler)?;
    take_over(signal);
    Ok(socket)
}
