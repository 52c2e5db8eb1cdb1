//! Pages of listings. A cursor is the place of the last item, not a count of items: whatever comes and goes meanwhile, the
//! next page goes on where this one stopped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;

/// Items of a page unless more or fewer are asked for.
const LIMIT: usize = 100;
const LIMIT_MAXIMUM: usize = 1000;

/// Questions that one page may put to shards beside one for each slot: a filter that fits nothing ends a page early.
const QUESTIONS: usize = 64;

/// Some items of a listing, in an order that does not change.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last one. A page may hold fewer items than it could, even none,
    /// where much was looked at that does not fit the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Where a listing is: a slot, and a key in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub slot: u16,
    pub key: Option<Vec<u8>>,
}

impl Place {
    /// `kind` tells cursors of one listing from those of another.
    pub fn encode(&self, kind: u8) -> String {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&self.slot.to_be_bytes());
        bytes.push(u8::from(self.key.is_some()));
        bytes.extend_from_slice(self.key.as_deref().unwrap_or_default());
        BASE64.encode(bytes)
    }

    /// The beginning, where there is no cursor.
    pub fn decode(kind: u8, cursor: Option<&str>) -> Result<Self, Problem> {
        let Some(cursor) = cursor else { return Ok(Self::default()) };
        let foreign = || Problem::bad_request("cursor is not one that this listing gave out as next");
        let bytes = BASE64.decode(cursor).map_err(|_| foreign())?;
        match &bytes[..] {
            [of, high, low, has_key @ (0 | 1), key @ ..] if *of == kind => {
                let key = (*has_key == 1).then(|| key.to_vec());
                Ok(Self { slot: u16::from_be_bytes([*high, *low]), key })
            }
            _ => Err(foreign()),
        }
    }

    /// The key as the text that it was.
    pub fn text(&self) -> Result<Option<String>, Problem> {
        let text = self.key.clone().map(String::from_utf8).transpose();
        text.map_err(|_| Problem::bad_request("cursor is not one that this listing gave out as next"))
    }
}

/// A page while it is gathered: which slot is to be asked, and when there is enough.
pub struct Gathering<T> {
    kind: u8,
    items: Vec<T>,
    limit: usize,
    at: Place,
    end: u16,
    questions: usize,
}

impl<T> Gathering<T> {
    /// Through the slots before `end`.
    pub fn begin(kind: u8, cursor: Option<&str>, limit: Option<usize>, end: u16) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAXIMUM).contains(&limit) {
            return Err(Problem::bad_request(format!("limit is a number from 1 to {LIMIT_MAXIMUM}")));
        }
        let at = Place::decode(kind, cursor)?;
        Ok(Self { kind, items: Vec::new(), limit, at, end, questions: QUESTIONS })
    }

    /// Where to ask for how many items, while there is room and somewhere to ask.
    pub fn ask(&self) -> Option<(&Place, usize)> {
        let room = self.limit - self.items.len();
        (room > 0 && self.questions > 0 && self.at.slot < self.end).then_some((&self.at, room))
    }

    /// What was found there, and the key to go on with in this slot, if there may be more.
    pub fn found(&mut self, items: impl IntoIterator<Item = T>, next: Option<Vec<u8>>) {
        self.items.extend(items);
        match next {
            Some(key) => {
                self.at.key = Some(key);
                self.questions -= 1;
            }
            None => self.at = Place { slot: self.at.slot + 1, key: None },
        }
    }

    /// Nothing is to be asked of this slot.
    pub fn skip(&mut self) {
        self.found([], None);
    }

    pub fn finish(self) -> Page<T> {
        let next = (self.at.slot < self.end).then(|| self.at.encode(self.kind));
        Page { items: self.items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_by_the_listing_that_gave_it_out_alone() {
        for key in [None, Some(vec![]), Some(vec![0, 255, 7])] {
            let place = Place { slot: 513, key };
            assert_eq!(Place::decode(b'c', Some(&place.encode(b'c'))), Ok(place.clone()));
            assert!(Place::decode(b'r', Some(&place.encode(b'c'))).is_err());
        }
        for foreign in ["", "%", "AAAA", "bm90IG91cnM"] {
            assert!(Place::decode(b'c', Some(foreign)).is_err(), "{foreign}");
        }
        assert_eq!(Place::decode(b'c', None), Ok(Place::default()));
    }

    #[test]
    fn a_page_goes_through_the_slots_until_it_is_full() {
        let mut page = Gathering::begin(b'c', None, Some(3), 4).unwrap();
        assert_eq!(page.ask().map(|(place, room)| (place.slot, room)), Some((0, 3)));
        page.found([1], Some(vec![9]));
        assert_eq!(page.ask(), Some((&Place { slot: 0, key: Some(vec![9]) }, 2)));
        page.found([], None);
        page.found([2, 3], None);
        assert_eq!(page.ask(), None);
        let page = page.finish();
        assert_eq!(page.items, [1, 2, 3]);
        let again = Gathering::<u8>::begin(b'c', page.next.as_deref(), None, 4).unwrap();
        assert_eq!(again.ask().map(|(place, _)| place.slot), Some(2));
    }

    #[test]
    fn a_page_ends_when_much_was_looked_at() {
        let mut page = Gathering::<u8>::begin(b'c', None, None, 4).unwrap();
        let mut asked = 0;
        while page.ask().is_some() {
            page.found([], Some(vec![1]));
            asked += 1;
        }
        assert_eq!(asked, QUESTIONS);
        assert!(page.finish().next.is_some());
    }

    #[test]
    fn a_limit_that_is_none_is_named() {
        for limit in [0, 1001] {
            let problem = Gathering::<u8>::begin(b'c', None, Some(limit), 4).err().unwrap();
            assert!(problem.detail.contains("1 to 1000"), "{}", problem.detail);
        }
    }
}
