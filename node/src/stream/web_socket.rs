//! A WebSocket of a Client, after the upgrade: MQTT's bytes in binary frames (MQTT 5.0, 6).

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::frame::{Decoder, Event, Fault, From, Header, Opcode, code, control};
use super::{Goodbye, Stream};

/// Bytes of one frame at most. A frame is promised with its length before it is written, and what is promised cannot be
/// taken back.
const FRAME_BYTES: usize = 1 << 20;

/// A WebSocket without what carries it.
pub struct State {
    decoder: Decoder,
    /// What came right behind the upgrade.
    early: Vec<u8>,
    /// Of the frame that is being written: its header, from `header_at` on, and bytes of its payload to come.
    header: Header,
    header_at: u8,
    frame_left: usize,
    /// Control frames to be written before the next frame begins, from `control_at` on. Two at most, a Pong and a
    /// Close: of several Pings the last one alone is answered (RFC 6455, 5.5.3).
    control: Vec<u8>,
    control_at: usize,
    fault: Option<Fault>,
    /// The Client has closed.
    ended: bool,
    /// A Close frame was written, or put where it will be.
    said_goodbye: bool,
}

impl State {
    /// `early` are bytes that came with the upgrade.
    pub fn new(early: Vec<u8>) -> Self {
        Self {
            decoder: Decoder::new(From::Client),
            early,
            header: Header::new(Opcode::Binary, 0, None),
            header_at: 2,
            frame_left: 0,
            control: Vec::new(),
            control_at: 0,
            fault: None,
            ended: false,
            said_goodbye: false,
        }
    }

    /// Bytes came from the Client.
    fn feed(&mut self, mut bytes: &[u8], room: &mut [u8], take: &mut impl FnMut(&[u8])) {
        while self.fault.is_none() && !self.ended {
            match self.decoder.next(&mut bytes, room) {
                Ok(None) => return,
                Ok(Some(Event::Data(data))) => take(data),
                Ok(Some(Event::Ping(payload))) => {
                    if self.control_at == 0 && !self.said_goodbye {
                        self.control = control(Opcode::Pong, &payload);
                    }
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(status))) => {
                    self.ended = true;
                    self.close(status);
                }
                Err(fault) => {
                    self.fault = Some(fault);
                    self.close(Some(fault.code));
                }
            }
        }
    }

    fn close(&mut self, status: Option<u16>) {
        if !std::mem::replace(&mut self.said_goodbye, true) {
            let payload = status.map(u16::to_be_bytes);
            let payload = payload.as_ref().map_or(&[][..], |bytes| &bytes[..]);
            self.control.extend_from_slice(&control(Opcode::Close, payload));
        }
    }

    fn header_left(&self) -> &[u8] {
        &self.header.bytes()[usize::from(self.header_at)..]
    }

    /// Nothing of a frame is promised.
    fn is_between_frames(&self) -> bool {
        self.frame_left == 0 && self.header_left().is_empty()
    }
}

pub struct WebSocket<S> {
    inner: S,
    state: Box<State>,
}

impl<S> WebSocket<S> {
    pub fn new(inner: S, state: Box<State>) -> Self {
        Self { inner, state }
    }
}

impl<S: Stream> WebSocket<S> {
    /// Writes what goes between frames.
    fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, state } = self;
        while state.control_at < state.control.len() {
            let rest = [IoSlice::new(&state.control[state.control_at..])];
            let written = ready!(inner.poll_write(context, &rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.control_at += written;
        }
        if state.control_at > 0 {
            state.control = Vec::new();
            state.control_at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Stream for WebSocket<S> {
    const SAYS_GOODBYE: bool = true;

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if self.state.is_between_frames() {
                ready!(self.poll_control(context))?;
                let all: usize = slices.iter().map(|slice| slice.len()).sum();
                // Nothing follows a Close. Who has sent one is still listened to, as far as packets came before it.
                if all == 0 || self.state.said_goodbye {
                    return Poll::Ready(Ok(all));
                }
                let payload = all.min(FRAME_BYTES);
                self.state.header = Header::new(Opcode::Binary, payload, None);
                self.state.header_at = 0;
                self.state.frame_left = payload;
            }
            let Self { inner, state } = self;
            let header = state.header_left();
            let header_left = header.len();
            let mut parts = [IoSlice::new(&[]); 17];
            let mut used = 0;
            if header_left > 0 {
                parts[0] = IoSlice::new(header);
                used = 1;
            }
            let mut room = state.frame_left;
            for slice in slices.iter().take(16) {
                if room == 0 {
                    break;
                }
                let count = slice.len().min(room);
                parts[used] = IoSlice::new(&slice[..count]);
                used += 1;
                room -= count;
            }
            let written = ready!(inner.poll_write(context, &parts[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = written.min(header_left);
            state.header_at += of_header as u8;
            let payload = written - of_header;
            state.frame_left -= payload;
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.is_between_frames() {
            ready!(self.poll_control(context))?;
        }
        self.inner.poll_flush(context)
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        let Self { inner, state } = self;
        if state.ended {
            return Poll::Ready(Ok(false));
        }
        let half = scratch.len() / 2;
        let (scratch, room) = scratch.split_at_mut(half);
        let mut more = true;
        if !state.early.is_empty() {
            let early = std::mem::take(&mut state.early);
            state.feed(&early, room, take);
        } else {
            more = ready!(inner.poll_read(context, scratch, &mut |bytes| state.feed(bytes, room, take)))?;
        }
        match state.fault {
            Some(fault) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault))),
            None => Poll::Ready(Ok(more)),
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.state.early[..] {
            [] if self.state.ended => Poll::Ready(()),
            // What has come is still to be taken.
            [_, ..] => Poll::Pending,
            [] => self.inner.poll_end(context),
        }
    }

    fn poll_goodbye(&mut self, context: &mut Context<'_>, goodbye: Goodbye) -> Poll<io::Result<()>> {
        // In the middle of a frame a Close would be taken for a part of it.
        if self.state.is_between_frames() {
            self.state.close(Some(match goodbye {
                Goodbye::Done => code::NORMAL,
                Goodbye::GoingAway => code::GOING_AWAY,
            }));
            ready!(self.poll_control(context))?;
        }
        self.inner.poll_goodbye(context, goodbye)
    }
}

#[cfg(test)]
#[path = "web_socket_tests.rs"]
mod tests;
