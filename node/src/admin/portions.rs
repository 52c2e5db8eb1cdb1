//! The body of an answer, handed to the server a portion at a time: what a connection does not take is not copied for it.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::ConnectionType;
use bytes::Bytes;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::line::Asker;

/// Bytes of a portion; the server asks for the next one once it has written about as many.
pub(super) const BYTES: usize = 8 << 10;

pub(super) struct Portions {
    body: BoxBody,
    /// What came of `body` and was not handed on.
    rest: Bytes,
    asker: Rc<Asker>,
}

impl Portions {
    /// An answer whose end its connection is told.
    pub(super) fn of(
        answer: ServiceResponse<impl MessageBody + 'static>,
        asker: Rc<Asker>,
    ) -> ServiceResponse<BoxBody> {
        let mut answer = answer.map_into_boxed_body();
        if asker.is_last() {
            answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        answer.map_body(|_, body| BoxBody::new(Self { body, rest: Bytes::new(), asker }))
    }
}

impl MessageBody for Portions {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(context)) {
                Some(Ok(bytes)) => self.rest = bytes,
                other => return Poll::Ready(other),
            }
        }
        let length = self.rest.len().min(BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

impl Drop for Portions {
    fn drop(&mut self) {
        self.asker.told();
    }
}
