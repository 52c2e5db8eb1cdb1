use super::super::frame::unmask;
use super::*;
use std::task::Waker;

/// Takes a few bytes at a time, and sometimes none: as a socket does whose other end is slow.
#[derive(Default)]
struct Narrow {
    width: usize,
    written: Vec<u8>,
    turns: usize,
    incoming: Vec<Vec<u8>>,
}

impl Stream for Narrow {
    const SAYS_GOODBYE: bool = false;

    fn poll_write(&mut self, _: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.turns += 1;
        if self.turns.is_multiple_of(3) {
            return Poll::Pending;
        }
        let mut bytes = Vec::new();
        super::super::gather(slices, self.width, &mut bytes);
        self.written.extend_from_slice(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        _: &mut [u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        match self.incoming.pop() {
            None => Poll::Pending,
            Some(bytes) => {
                take(&bytes);
                Poll::Ready(Ok(true))
            }
        }
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn poll_goodbye(&mut self, _: &mut Context<'_>, _: Goodbye) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn client_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = Header::new(opcode, payload.len(), Some(mask)).bytes().to_vec();
    let at = bytes.len();
    bytes.resize(at + payload.len(), 0);
    unmask(payload, mask, &mut bytes[at..]);
    bytes
}

/// What a Client makes of what was written: data, and how many Pongs and Closes.
fn read_back(bytes: &[u8]) -> (Vec<u8>, usize, Vec<Option<u16>>) {
    let mut decoder = Decoder::new(From::Server);
    let (mut input, mut room) = (bytes, vec![0; 4096]);
    let (mut data, mut pongs, mut closes) = (Vec::new(), 0, Vec::new());
    while let Some(event) = decoder.next(&mut input, &mut room).expect("frames as they must be") {
        match event {
            Event::Data(piece) => data.extend_from_slice(piece),
            Event::Pong => pongs += 1,
            Event::Close(status) => closes.push(status),
            Event::Ping(_) => panic!("nobody pings"),
        }
    }
    (data, pongs, closes)
}

#[test]
fn frames_stay_whole_however_little_is_taken_and_whoever_pings_meanwhile() {
    let payload: Vec<u8> = (0..2000_u32).map(|at| (at % 251) as u8).collect();
    for width in [1, 2, 3, 13, 100, 5000] {
        let mut socket =
            WebSocket::new(Narrow { width, ..Narrow::default() }, Box::new(State::new(Vec::new())));
        let mut context = Context::from_waker(Waker::noop());
        let (mut at, mut rounds, mut pings) = (0, 0, 0);
        let mut scratch = [0; 256];
        while at < payload.len() {
            rounds += 1;
            assert!(rounds < 100_000, "it goes on");
            if rounds % 5 == 1 {
                pings += 1;
                socket.inner.incoming.push(client_frame(Opcode::Ping, b"there?"));
                let read = socket.poll_read(&mut context, &mut scratch, &mut |_| panic!("a Ping is no data"));
                assert!(matches!(read, Poll::Ready(Ok(true))));
            }
            // In two pieces, as an output has them, and never more than some at once.
            let rest = &payload[at..(at + 700).min(payload.len())];
            let (one, two) = rest.split_at(rest.len() / 3);
            match socket.poll_write(&mut context, &[IoSlice::new(one), IoSlice::new(two)]) {
                Poll::Ready(written) => at += written.expect("it is taken"),
                Poll::Pending => {}
            }
        }
        while socket.poll_goodbye(&mut context, Goodbye::GoingAway).is_pending() {}
        let (data, pongs, closes) = read_back(&socket.inner.written);
        assert!(data == payload, "{width}");
        assert!(pongs >= 1 && pongs <= pings, "{width}: {pongs} of {pings}");
        assert_eq!(closes, [Some(code::GOING_AWAY)], "{width}");
    }
}

#[test]
fn a_close_is_answered_once_and_nothing_follows_it() {
    let early = [client_frame(Opcode::Binary, b"last"), client_frame(Opcode::Close, &[3, 0xE8])].concat();
    let mut socket = WebSocket::new(Narrow { width: 100, ..Narrow::default() }, Box::new(State::new(early)));
    let mut context = Context::from_waker(Waker::noop());
    let (mut scratch, mut data) = ([0; 256], Vec::new());
    let mut read = |socket: &mut WebSocket<Narrow>| {
        socket.poll_read(&mut context, &mut scratch, &mut |bytes| data.extend_from_slice(bytes))
    };
    // The end comes by itself, after what came with it.
    assert!(matches!(read(&mut socket), Poll::Ready(Ok(true))));
    assert!(matches!(read(&mut socket), Poll::Ready(Ok(false))));
    assert_eq!(data, b"last");
    let mut context = Context::from_waker(Waker::noop());
    while socket.poll_flush(&mut context).is_pending() {}
    let written = socket.poll_write(&mut context, &[IoSlice::new(b"too late")]);
    assert!(matches!(written, Poll::Ready(Ok(8))));
    while socket.poll_goodbye(&mut context, Goodbye::Done).is_pending() {}
    assert_eq!(read_back(&socket.inner.written), (Vec::new(), 0, vec![Some(code::NORMAL)]));
}
