//! The events that every logger writes.

/// The shape of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One line.
    Line,
    /// Three lines, formatted before the logger sees them: one argument.
    Text,
    /// Three lines, of which a piece of the format string is a line break alone.
    Pieces,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Line, Self::Text, Self::Pieces];

    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Text => "text",
            Self::Pieces => "pieces",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }
}

/// One event of one thread.
#[derive(Debug, Clone)]
pub struct Event {
    pub shape: Shape,
    /// No other event has it, and all have the same length. The check finds it in what was written.
    pub id: String,
    /// The message of [`Shape::Text`].
    pub text: String,
}

impl Event {
    pub fn new(shape: Shape, worker: usize, thread: usize, number: usize) -> Self {
        let id = format!("w{worker:02}t{thread:02}n{number:06}e");
        let text = format!("begin {id}\n  second line of {id}\nend {id}");
        Self { shape, id, text }
    }
}

/// Calls a macro of a logger with the event's message.
#[macro_export]
macro_rules! say {
    ($event:expr, $library:ident $(, $logger:expr)?) => {
        match $event.shape {
            $crate::event::Shape::Line => {
                $library::info!($($logger,)? "begin {} end", $event.id);
            }
            $crate::event::Shape::Text => $library::info!($($logger,)? "{}", $event.text),
            $crate::event::Shape::Pieces => {
                $library::info!($($logger,)? "begin {}\n{}\nend {}", $event.id, $event.id, $event.id);
            }
        }
    };
}
