//! Values in D-Bus's wire format; D-Bus specification, "Marshaling".

use crate::plan::cgroup::unit::Property;

/// Arguments, while they are written, with their signature.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    signature: String,
}

impl Body {
    /// Arguments of these types; what is written does not tell them.
    pub fn of(signature: &str) -> Self {
        Self { bytes: Vec::new(), signature: signature.to_string() }
    }

    /// Arguments that are texts alone.
    pub fn texts(texts: &[&str]) -> Self {
        let mut body = Self::of(&"s".repeat(texts.len()));
        texts.iter().for_each(|text| body.text(text));
        body
    }

    /// The signature and the bytes.
    pub fn finish(self) -> (String, Vec<u8>) {
        (self.signature, self.bytes)
    }

    /// Pads to a multiple of `size`.
    pub fn align(&mut self, size: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(size), 0);
    }

    /// `y`
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// `u`
    pub fn uint32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// `t`
    pub fn uint64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// `b`
    pub fn bool(&mut self, value: bool) {
        self.uint32(value.into());
    }

    /// `s`, `o`
    pub fn text(&mut self, value: &str) {
        self.uint32(u32::try_from(value.len()).expect("kase's texts are short"));
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    /// `g`
    pub fn signature(&mut self, value: &str) {
        self.bytes.push(u8::try_from(value.len()).expect("kase's signatures are short"));
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    /// `a…`, whose elements `write` writes; they are aligned to `size`.
    pub fn array(&mut self, size: usize, write: impl FnOnce(&mut Self)) {
        self.uint32(0);
        let length = self.bytes.len() - 4;
        self.align(size);
        let start = self.bytes.len();
        write(self);
        let written = u32::try_from(self.bytes.len() - start).expect("kase's lists are short");
        self.bytes[length..length + 4].copy_from_slice(&written.to_le_bytes());
    }

    /// `a(sv)`
    pub fn properties(&mut self, properties: &[(String, Property)]) {
        self.array(8, |list| {
            for (name, value) in properties {
                list.align(8);
                list.text(name);
                list.variant(value);
            }
        });
    }

    fn variant(&mut self, value: &Property) {
        let signature = match value {
            Property::Bool(_) => "b",
            Property::Text(_) => "s",
            Property::Int32(_) => "i",
            Property::Uint32(_) => "u",
            Property::Int64(_) => "x",
            Property::Uint64(_) => "t",
            Property::Texts(_) => "as",
            Property::Uint32s(_) => "au",
            Property::Bytes(_) => "ay",
            Property::Pairs(_) => "a(ss)",
            Property::Numbers(_) => "a(st)",
        };
        self.signature(signature);
        match value {
            Property::Bool(value) => self.bool(*value),
            Property::Text(value) => self.text(value),
            Property::Int32(value) => self.uint32(value.cast_unsigned()),
            Property::Uint32(value) => self.uint32(*value),
            Property::Int64(value) => self.uint64(value.cast_unsigned()),
            Property::Uint64(value) => self.uint64(*value),
            Property::Texts(values) => self.array(4, |list| values.iter().for_each(|value| list.text(value))),
            Property::Uint32s(values) => {
                self.array(4, |list| values.iter().for_each(|value| list.uint32(*value)));
            }
            Property::Bytes(values) => self.array(1, |list| list.bytes.extend_from_slice(values)),
            Property::Pairs(values) => self.array(8, |list| {
                for (one, two) in values {
                    list.align(8);
                    list.text(one);
                    list.text(two);
                }
            }),
            Property::Numbers(values) => self.array(8, |list| {
                for (text, number) in values {
                    list.align(8);
                    list.text(text);
                    list.uint64(*number);
                }
            }),
        }
    }
}

/// Arguments, while they are read. Nothing where they end too early.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Skips to a multiple of `size`.
    pub fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    /// `y`
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// `u`
    pub fn uint32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// `s`, `o`
    pub fn text(&mut self) -> Option<String> {
        let length = self.uint32()? as usize;
        let bytes = self.take(length)?;
        self.take(1)?;
        String::from_utf8(bytes.to_vec()).ok()
    }

    /// `g`
    pub fn signature(&mut self) -> Option<String> {
        let length = self.byte()? as usize;
        let bytes = self.take(length)?;
        self.take(1)?;
        String::from_utf8(bytes.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_counts_without_the_padding_before_its_first_element() {
        let mut body = Body::of("");
        body.properties(&[("A".into(), Property::Uint64(7))]);
        // Length 24: "A" with its own length is 6 bytes, the signature 3, padding to 16, the number 8.
        let mut expected = vec![24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'A', 0, 1, b't', 0];
        expected.resize(24, 0);
        expected.extend_from_slice(&7u64.to_le_bytes());
        assert_eq!(body.finish().1, expected);
    }

    #[test]
    fn an_empty_array_is_padded_too() {
        let mut body = Body::of("");
        body.array(8, |_| {});
        assert_eq!(body.finish().1, [0; 8]);
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let mut body = Body::of("");
        body.text("abc");
        let bytes = body.finish().1;
        assert_eq!(Reader::new(&bytes).text().as_deref(), Some("abc"));
        assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).text(), None);
        assert_eq!(Reader::new(&[255, 255, 255, 255]).text(), None);
    }
}
