//! Reads the modules of a crate and says what each file names of the others: by `use`, by paths in its code and in the
//! arguments of macros. Code for tests is left out.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, HashMap};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// A file's path and its text.
pub type Files<'a> = [(&'a str, &'a str)];

/// What a file names.
#[derive(Debug)]
pub struct Naming {
    /// The file that names it.
    pub file: String,
    /// The line where it does.
    pub line: usize,
    /// The whole path from the crate's name on, as `kase::plan::Plan` or `std::fs::read`.
    pub path: Vec<String>,
    /// As it is written, with the module's own names replaced: the names that others hand on are not followed.
    pub written: Vec<String>,
    /// The file that defines it, if that is one of the crate's and it is more than a module's name.
    pub definer: Option<String>,
    /// Whether it is a module.
    pub is_module: bool,
    /// Whether arguments in parentheses follow.
    pub is_called: bool,
}

/// A module, its file, and the names in it.
#[derive(Default)]
struct Module {
    file: String,
    children: Vec<String>,
    defined: Vec<String>,
    /// Names by `use`, and the path behind each.
    imported: HashMap<String, Vec<String>>,
    uses: Vec<Use>,
    code: Vec<TokenStream>,
}

/// One name of a `use`.
struct Use {
    line: usize,
    path: Vec<String>,
    name: String,
    /// Whether it only hands the name on to others.
    is_public: bool,
}

/// What there is to know of a crate.
pub struct Crate {
    /// Its files, those that are only for tests left out.
    pub files: Vec<String>,
    /// All that its files name.
    pub namings: Vec<Naming>,
}

impl Crate {
    /// Reads the crate `name` from its root file on. A module's file is in the directory of its parent's name, as
    /// rustc has it.
    pub fn read(name: &str, root: &str, files: &Files<'_>) -> Self {
        let mut read = Modules { modules: BTreeMap::new() };
        let directory = root.rsplit_once('/').map_or("", |(directory, _)| directory);
        read.file(vec![name.to_string()], root, directory, files);
        let files = read.modules.values().map(|module| module.file.clone()).collect();
        Self { files, namings: read.namings() }
    }
}

/// The modules of a crate by their paths, which begin with the crate's name.
struct Modules {
    modules: BTreeMap<Vec<String>, Module>,
}

impl Modules {
    fn file(&mut self, path: Vec<String>, file: &str, directory: &str, files: &Files<'_>) {
        let text = files.iter().find(|(name, _)| *name == file).map(|(_, text)| *text);
        let text = text.unwrap_or_else(|| panic!("{file}: there is no such file"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.items(path, file, directory, parsed.items, files);
    }

    fn items(&mut self, path: Vec<String>, file: &str, directory: &str, items: Vec<Item>, files: &Files<'_>) {
        let mut module = Module { file: file.to_string(), ..Module::default() };
        for item in items.into_iter().filter(|item| !is_for_tests(attributes(item))) {
            let mut uses = Uses(Vec::new());
            uses.visit_item(&item);
            module.uses.extend(uses.0);
            match item {
                Item::Use(_) => {}
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let below = format!("{directory}/{name}");
                    let inner_path = [path.as_slice(), std::slice::from_ref(&name)].concat();
                    module.children.push(name);
                    match inner.content {
                        Some((_, items)) => self.items(inner_path, file, &below, items, files),
                        None => {
                            let alone = format!("{below}.rs");
                            let is_alone = files.iter().any(|(file, _)| *file == alone);
                            let file = if is_alone { alone } else { format!("{below}/mod.rs") };
                            self.file(inner_path, &file, &below, files);
                        }
                    }
                }
                item => {
                    module.defined.extend(name_of(&item));
                    module.code.push(item.to_token_stream());
                }
            }
        }
        module.imported = module.uses.iter().map(|one| (one.name.clone(), one.path.clone())).collect();
        self.modules.insert(path, module);
    }

    /// All that is named in all modules.
    fn namings(&self) -> Vec<Naming> {
        let mut found = Vec::new();
        for (here, module) in &self.modules {
            let mut name = |path: &[String], line: usize, is_called: bool| {
                if let Some(found_path) = self.resolve(here, path, 0) {
                    let Resolved { path, written, definer, is_module } = found_path;
                    let file = module.file.clone();
                    found.push(Naming { file, line, path, written, definer, is_module, is_called });
                }
            };
            for one in &module.uses {
                // A module that hands a name on does not use it, unless its own code has the name too.
                let is_own = |code: &TokenStream| !lines_of(code.clone(), &one.name).is_empty();
                if !one.is_public || module.code.iter().any(is_own) {
                    name(&one.path, one.line, false);
                }
            }
            for code in &module.code {
                paths(code.clone(), &mut name);
            }
        }
        found
    }

    /// What a path leads to that is named in the module `here`. Nothing for a name of no crate, such as a type's own
    /// function.
    fn resolve(&self, here: &[String], path: &[String], depth: usize) -> Option<Resolved> {
        let (first, rest) = path.split_first()?;
        // Two names that are each other's would never end.
        if depth > 8 {
            return None;
        }
        let module = &self.modules[here];
        let mut at = match first.as_str() {
            "crate" => here[..1].to_vec(),
            "self" => here.to_vec(),
            "super" => here[..here.len() - 1].to_vec(),
            name if module.children.iter().any(|child| child == name) && !rest.is_empty() => {
                child(here, name)
            }
            name => {
                if let Some(behind) = module.imported.get(name).filter(|behind| behind.first() != Some(first))
                {
                    return self.resolve(here, &[behind.as_slice(), rest].concat(), depth + 1);
                }
                let is_crate = name.starts_with(|first: char| first.is_ascii_lowercase()) && !rest.is_empty();
                return (is_crate && !module.defined.contains(first))
                    .then(|| Resolved::at(path, None, false));
            }
        };
        for (index, name) in rest.iter().enumerate() {
            let module = &self.modules[&at];
            let is_last = index + 1 == rest.len();
            let is_item = module.defined.contains(name) || module.imported.contains_key(name);
            if name == "super" {
                at.pop();
            } else if module.children.contains(name) && !(is_last && is_item) {
                at = child(&at, name);
            } else {
                let written = [at.as_slice(), &rest[index..]].concat();
                if let Some(behind) = module.imported.get(name).filter(|_| !module.defined.contains(name)) {
                    let behind = [behind.as_slice(), &rest[index + 1..]].concat();
                    return self.resolve(&at, &behind, depth + 1).map(|found| Resolved { written, ..found });
                }
                // Macros that are exported are the crate's wherever they stand.
                let is_known = at.len() > 1 || module.defined.contains(name);
                return Some(Resolved::at(&written, is_known.then(|| module.file.clone()), false));
            }
        }
        Some(Resolved::at(&at, None, true))
    }
}

/// What a path leads to; see [`Naming`].
struct Resolved {
    path: Vec<String>,
    written: Vec<String>,
    definer: Option<String>,
    is_module: bool,
}

impl Resolved {
    fn at(path: &[String], definer: Option<String>, is_module: bool) -> Self {
        Self { path: path.to_vec(), written: path.to_vec(), definer, is_module }
    }
}

fn child(path: &[String], name: &str) -> Vec<String> {
    [path, &[name.to_string()]].concat()
}

/// The names of every `use` in an item, those in the bodies of functions included.
struct Uses(Vec<Use>);

impl Visit<'_> for Uses {
    fn visit_item_use(&mut self, item: &ItemUse) {
        if !is_for_tests(&item.attrs) {
            let is_public = !matches!(item.vis, Visibility::Inherited);
            self.tree(&item.tree, &mut Vec::new(), is_public);
        }
    }

    fn visit_item_mod(&mut self, _: &syn::ItemMod) {}

    fn visit_item(&mut self, item: &Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }
}

impl Uses {
    fn tree(&mut self, tree: &UseTree, before: &mut Vec<String>, is_public: bool) {
        let (last, name) = match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before, is_public);
                before.pop();
                return;
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(tree, before, is_public));
                return;
            }
            UseTree::Name(one) => (one.ident.clone(), one.ident.to_string()),
            UseTree::Rename(one) => (one.ident.clone(), one.rename.to_string()),
            UseTree::Glob(glob) => {
                let ident = syn::Ident::new("all", glob.star_token.spans[0]);
                (ident, "*".to_string())
            }
        };
        let line = last.span().start().line;
        let (path, name) = match last == "self" {
            true => (before.clone(), before.last().cloned().unwrap_or_default()),
            false => ([before.as_slice(), &[last.to_string()]].concat(), name),
        };
        self.0.push(Use { line, path, name, is_public });
    }
}

/// Calls `name` with every path of more than one name in the tokens, macros' arguments included.
fn paths(tokens: TokenStream, name: &mut impl FnMut(&[String], usize, bool)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_mark = |at: usize, mark: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == mark);
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => paths(group.stream(), name),
            TokenTree::Ident(first) => {
                let mut path = vec![first.to_string()];
                let line = first.span().start().line;
                while is_mark(at + 1, ':')
                    && is_mark(at + 2, ':')
                    && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                {
                    path.push(next.to_string());
                    at += 3;
                }
                let next = tokens.get(at + 1);
                let is_called = matches!(next, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                if path.len() > 1 {
                    name(&path, line, is_called);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

/// The lines of a file's code outside of tests where a word stands as a token of its own.
pub fn lines_outside_tests(file: &str, text: &str, word: &str) -> Vec<usize> {
    let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let items = parsed.items.into_iter().filter(|item| !is_for_tests(attributes(item)));
    items.flat_map(|item| lines_of(item.to_token_stream(), word)).collect()
}

/// The lines of the tokens that are this word.
fn lines_of(tokens: TokenStream, word: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines.extend(lines_of(group.stream(), word)),
            TokenTree::Ident(ident) if ident == word => lines.push(ident.span().start().line),
            _ => {}
        }
    }
    lines
}

/// Whether an item is compiled for tests alone: `#[cfg(test)]`, `#[cfg(any(test, fuzzing))]`, or for `make fuzz`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = attribute.meta.to_token_stream();
        attribute.path().is_ident("cfg")
            && ["test", "fuzzing"].iter().any(|word| !lines_of(tokens.clone(), word).is_empty())
            && lines_of(tokens.clone(), "not").is_empty()
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
