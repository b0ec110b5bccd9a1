//! The protobuf wire format: tags, varints and length-delimited bytes.

use super::Error;

/// One field's value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A number, boolean or enum.
    Varint(u64),
    /// A text, message, map entry or packed list.
    Bytes(&'a [u8]),
    /// A double or fixed-size integer, by its bits.
    Fixed64(u64),
    /// A float or fixed-size integer, by its bits.
    Fixed32(u32),
}

/// Reads the fields of one message in turn.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Whether everything has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the next field and its number, `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Malformed("field number out of range"))?;
        if number == 0 {
            return Err(Error::Malformed("field number 0"));
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Malformed("length out of range"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups (3, 4) were never used by Kubernetes.
            _ => return Err(Error::Malformed("unknown wire type")),
        };
        Ok(Some((number, field)))
    }

    /// Returns the next varint.
    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            if index == 9 && *byte > 1 {
                return Err(Error::Malformed("varint out of range"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Error::Malformed("varint does not end"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Malformed("unexpected end"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Error::Malformed("unexpected end"))
    }
}

/// Writes the fields of one message in turn.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Returns what was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Writes a number, boolean or enum.
    pub(crate) fn int(&mut self, number: u32, value: i64) {
        self.varint(u64::from(number) << 3);
        self.varint(value.cast_unsigned());
    }

    /// Writes a number with a fraction.
    pub(crate) fn double(&mut self, number: u32, value: f64) {
        self.varint(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a text, message or bytes.
    pub(crate) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Writes a message in place: what `fill` writes, with its length before it.
    pub(crate) fn nested<E>(&mut self, number: u32, fill: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.varint(u64::from(number) << 3 | 2);
        let start = self.0.len();
        fill(self)?;
        // The length is known only now, and is nearly always one or two bytes: moving the message is cheaper than
        // measuring it beforehand at every level.
        let mut length = Self::default();
        length.varint((self.0.len() - start) as u64);
        self.0.splice(start..start, length.0);
        Ok(())
    }

    /// Writes a message in place that cannot fail.
    pub(crate) fn leaf(&mut self, number: u32, fill: impl FnOnce(&mut Self)) {
        let Ok(()) = self.nested::<std::convert::Infallible>(number, |inner| {
            fill(inner);
            Ok(())
        });
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// Returns bytes as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Malformed("text is not UTF-8"))
}
