//! JSON with the place of everything in it, which serde keeps to itself. Whether it is right is serde's to say.

use std::fmt::Write;

/// A value and where it stands.
#[derive(Debug)]
pub struct Tree {
    /// Bytes from the start of the text.
    pub at: usize,
    /// Where the next byte is that is not its own.
    pub end: usize,
    /// What it is.
    pub node: Node,
}

/// A value.
#[derive(Debug)]
pub enum Node {
    /// Fields in their order, repeated ones included.
    Object(Vec<Field>),
    /// Elements.
    List(Vec<Tree>),
    /// A string, without its escapes.
    Text(String),
    /// Anything else, as it is written.
    Plain(String),
}

/// A field of an object.
#[derive(Debug)]
pub struct Field {
    /// Where its name begins.
    pub at: usize,
    pub name: String,
    /// Its value.
    pub value: Tree,
}

impl Field {
    fn strings(&self) -> Vec<(usize, &str)> {
        [vec![(self.at, self.name.as_str())], self.value.strings()].concat()
    }
}

/// As deep as serde_json goes.
const DEEPEST: usize = 128;

impl Tree {
    /// Reads a whole text.
    pub fn read(text: &[u8]) -> Option<Self> {
        let mut reader = Reader { text, at: 0, is_broken: false };
        let tree = reader.value(0)?;
        reader.blank();
        (!reader.is_broken && reader.at == text.len()).then_some(tree)
    }

    /// Reads a text as far as it is JSON.
    pub fn read_part(text: &[u8]) -> Option<Self> {
        Reader { text, at: 0, is_broken: false }.value(0)
    }

    /// The last field of this name, which is the one that counts.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.field(name).map(|field| &field.value)
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().rev().find(|field| field.name == name)
    }

    /// What lies at this path of names.
    pub fn down(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, name| tree.get(name))
    }

    /// The fields of an object; none of anything else.
    pub fn fields(&self) -> &[Field] {
        match &self.node {
            Node::Object(fields) => fields,
            _ => &[],
        }
    }

    /// The elements of a list; none of anything else.
    pub fn elements(&self) -> &[Self] {
        match &self.node {
            Node::List(elements) => elements,
            _ => &[],
        }
    }

    /// A string.
    pub fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The strings of a list, with their places.
    pub fn words(&self) -> impl Iterator<Item = (usize, &Self, &str)> {
        self.elements().iter().enumerate().filter_map(|(index, one)| Some((index, one, one.text()?)))
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        matches!(&self.node, Node::Plain(word) if word == "true")
    }

    /// A number that is whole.
    pub fn number(&self) -> Option<i64> {
        match &self.node {
            Node::Plain(word) => word.parse().ok(),
            _ => None,
        }
    }

    /// Where the value is that a fault's place names (`mounts[4].source`, `linux.sysctl["a.b"]`), or the last thing
    /// on the way there.
    pub fn find(&self, path: &str) -> usize {
        let (mut here, mut at, mut rest) = (self, self.at, path);
        while !rest.is_empty() {
            let bare = rest.trim_start_matches('.');
            let next = match bare.strip_prefix('[') {
                Some(index) => here.element(index),
                // The longest name that fits is meant, since names of parameters and annotations have dots in them.
                None => {
                    let fitting = here.fields().iter().filter(|field| {
                        bare.strip_prefix(field.name.as_str())
                            .is_some_and(|left| left.is_empty() || left.starts_with(['.', '[']))
                    });
                    fitting
                        .max_by_key(|field| field.name.len())
                        .map(|field| (field.at, &field.value, &bare[field.name.len()..]))
                }
            };
            let Some((found, tree, left)) = next else { break };
            (at, here, rest) = (found, tree, left);
        }
        at
    }

    /// The path, as [`find`](Self::find) takes it, to the innermost value whose name or text has the byte at `at`, or
    /// before which, in a list, that byte stands.
    pub fn path(&self, at: usize) -> String {
        let (mut here, mut path) = (self, String::new());
        loop {
            let field = here.fields().iter().find(|field| (field.at..field.value.end).contains(&at));
            let element = here.elements().iter().position(|element| (here.at..element.end).contains(&at));
            here = match (field, element) {
                (Some(field), _) if path.is_empty() => (path.push_str(&field.name), &field.value).1,
                (Some(field), _) => (path.extend([".", &field.name]), &field.value).1,
                (None, Some(index)) => {
                    // Writing into a string cannot fail.
                    let _ = write!(path, "[{index}]");
                    &here.elements()[index]
                }
                (None, None) => return path,
            };
        }
    }

    /// Every string with its place, names of fields included.
    pub fn strings(&self) -> Vec<(usize, &str)> {
        match &self.node {
            Node::Object(fields) => fields.iter().flat_map(Field::strings).collect(),
            Node::List(elements) => elements.iter().flat_map(Self::strings).collect(),
            Node::Text(text) => vec![(self.at, text)],
            Node::Plain(_) => Vec::new(),
        }
    }

    /// `4].source`, `"a.b"]`
    fn element<'tree, 'path>(&'tree self, path: &'path str) -> Option<(usize, &'tree Self, &'path str)> {
        if let Some(quoted) = path.strip_prefix('"') {
            let (name, left) = quoted.split_once("\"]")?;
            return self.field(name).map(|field| (field.at, &field.value, left));
        }
        let (index, left) = path.split_once(']')?;
        let tree = self.elements().get(index.parse::<usize>().ok()?)?;
        Some((tree.at, tree, left))
    }
}

struct Reader<'text> {
    text: &'text [u8],
    at: usize,
    /// Whether what follows is no JSON, and so all behind is left out.
    is_broken: bool,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Option<Tree> {
        let first = self.peek().filter(|_| depth < DEEPEST)?;
        let at = self.at;
        let node = match first {
            b'{' => {
                let mut fields = Vec::new();
                let all = self.items(b'}', |reader| {
                    reader.blank();
                    let at = reader.at;
                    let name = reader.string()?;
                    reader.take(b':').then_some(())?;
                    fields.push(Field { at, name, value: reader.value(depth + 1)? });
                    Some(())
                });
                self.is_broken |= all.is_none();
                Node::Object(fields)
            }
            b'[' => {
                let mut elements = Vec::new();
                let all = self.items(b']', |reader| {
                    elements.push(reader.value(depth + 1)?);
                    Some(())
                });
                self.is_broken |= all.is_none();
                Node::List(elements)
            }
            b'"' => Node::Text(self.string()?),
            _ => Node::Plain(self.word()?),
        };
        Some(Tree { at, end: if self.is_broken { self.text.len() } else { self.at }, node })
    }

    /// What stands between two brackets, of which the second is `end`.
    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.take(end) {
            return Some(());
        }
        loop {
            item(self)?;
            if self.is_broken || self.take(end) {
                return Some(());
            }
            self.take(b',').then_some(())?;
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        if self.text.get(start) != Some(&b'"') {
            return None;
        }
        let mut end = start + 1;
        while *self.text.get(end)? != b'"' {
            end += if self.text[end] == b'\\' { 2 } else { 1 };
        }
        self.at = end + 1;
        let quoted = String::from_utf8_lossy(&self.text[start..=end]);
        // serde accepts escapes that are no character in fields that nobody reads, so they stay as written.
        Some(serde_json::from_str(&quoted).unwrap_or_else(|_| quoted.into_owned()))
    }

    fn word(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}:\"[{".contains(byte);
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        let word = std::str::from_utf8(&rest[..length]).ok()?;
        (!word.is_empty()).then(|| word.to_string())
    }
}

/// Tells lines and columns of offsets that do not go back, in one pass.
pub struct Cursor<'text> {
    text: &'text [u8],
    at: usize,
    line: usize,
    column: usize,
}

impl<'text> Cursor<'text> {
    /// At the beginning.
    pub fn new(text: &'text [u8]) -> Self {
        Self { text, at: 0, line: 1, column: 1 }
    }

    /// The line and the column in it, from 1, the column in characters.
    pub fn line_and_column(&mut self, at: usize) -> (usize, usize) {
        // In UTF-8, these bytes continue a character.
        const CONTINUED: std::ops::Range<u8> = 0x80..0xc0;
        let at = at.clamp(self.at, self.text.len());
        for byte in &self.text[self.at..at] {
            match byte {
                b'\n' => (self.line, self.column) = (self.line + 1, 1),
                byte => self.column += usize::from(!CONTINUED.contains(byte)),
            }
        }
        self.at = at;
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const TEXT: &str = "{\n  \"a\": [1, {\"b.c\": \"x\\\"y\"}],\n  \"ü\": true, \"a.b\": {\"\": null}\n}";

    fn same(tree: &Tree, value: &Value) -> bool {
        match (&tree.node, value) {
            (Node::Object(fields), Value::Object(map)) => {
                map.iter().all(|(name, value)| tree.get(name).is_some_and(|tree| same(tree, value)))
                    && fields.iter().all(|field| map.contains_key(&field.name))
            }
            (Node::List(elements), Value::Array(list)) => {
                elements.len() == list.len()
                    && elements.iter().zip(list).all(|(tree, value)| same(tree, value))
            }
            (Node::Text(text), Value::String(other)) => text == other,
            (Node::Plain(word), value) => serde_json::from_str::<Value>(word).unwrap() == *value,
            _ => false,
        }
    }

    #[test]
    fn everything_has_its_place() {
        let tree = Tree::read(TEXT.as_bytes()).unwrap();
        let place = |path: &str| Cursor::new(TEXT.as_bytes()).line_and_column(tree.find(path));
        assert_eq!(place("a[1].b.c"), (2, 13));
        assert_eq!(place("a[1][\"b.c\"]"), (2, 13));
        assert_eq!(place("a[7]"), (2, 3));
        assert_eq!(place("a.b"), (3, 14));
        assert_eq!(place("nowhere"), (1, 1));
        for path in ["a[1].b.c", "a[0]", "ü", "a.b."] {
            assert_eq!(tree.path(tree.find(path)), path);
        }
        assert_eq!(tree.down(&["a"]).unwrap().elements()[1].get("b.c").unwrap().text(), Some("x\"y"));
    }

    #[test]
    fn of_a_repeated_name_the_last_counts() {
        let tree = Tree::read(br#"{"a": 1, "a": 2}"#).unwrap();
        assert_eq!(tree.get("a").unwrap().number(), Some(2));
    }

    #[test]
    fn what_is_nested_too_deep_is_no_tree() {
        assert!(Tree::read("[".repeat(100_000).as_bytes()).is_none());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tree_is_what_serde_reads(value in json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let tree = Tree::read(text.as_bytes());
            prop_assert!(tree.is_some_and(|tree| same(&tree, &value)), "{text}");
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\a1ü .]{0,60}", path in "[a.\\[\\]\"0-9ü]{0,12}", at in 0_usize..80) {
            if let Some(tree) = Tree::read(text.as_bytes()) {
                tree.find(&path);
            }
            Cursor::new(text.as_bytes()).line_and_column(at);
        }
    }
}
