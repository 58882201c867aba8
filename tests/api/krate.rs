//! The crate as a tree of modules, each with its items.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// The path of a module or an item from the root of the crate.
pub(crate) type ItemPath = Vec<String>;

pub(crate) struct Module {
    pub(crate) items: Vec<Item>,
    /// Names that `use` brings in, and where from: `std::io::Error`, `crate::error::Error`.
    pub(crate) imports: BTreeMap<String, (ItemPath, bool)>,
}

pub(crate) struct Krate {
    pub(crate) modules: BTreeMap<ItemPath, Module>,
}

impl Krate {
    pub(crate) fn read(root: &Path) -> Self {
        let mut krate = Self { modules: BTreeMap::new() };
        krate.add_file(&root.join("src/lib.rs"), &root.join("src"), Vec::new());
        krate
    }

    fn add_file(&mut self, file: &Path, dir: &Path, path: ItemPath) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
        let items = syn::parse_file(&text).unwrap_or_else(|e| panic!("{file:?}: {e}")).items;
        self.add(items, dir, path);
    }

    fn add(&mut self, items: Vec<Item>, dir: &Path, path: ItemPath) {
        let items: Vec<_> = items.into_iter().filter(|item| is_compiled(attrs(item))).collect();
        let mut imports = BTreeMap::new();
        let has = |name: &String| {
            items.iter().any(|item| matches!(item, Item::Mod(module) if module.ident == name))
        };
        for item in &items {
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let inner = [path.clone(), vec![name.clone()]].concat();
                    let inner_dir = dir.join(&name);
                    match &module.content {
                        Some((_, items)) => self.add(items.clone(), &inner_dir, inner),
                        None => self.add_file(&module_file(dir, &name), &inner_dir, inner),
                    }
                }
                Item::Use(import) => {
                    let is_public = matches!(import.vis, Visibility::Public(_));
                    collect(&import.tree, &mut Vec::new(), &mut |name, target| {
                        let target = match target.first() {
                            Some(first) if has(first) => [path.clone(), target].concat(),
                            _ => absolute(&path, target),
                        };
                        imports.insert(name, (target, is_public));
                    });
                }
                _ => {}
            }
        }
        self.modules.insert(path, Module { items, imports });
    }

    /// The module and the item that a path names, through re-exports.
    pub(crate) fn resolve(&self, path: &[String]) -> Option<(ItemPath, &Item)> {
        let (name, module_path) = path.split_last()?;
        let module = self.modules.get(module_path)?;
        let is_it = |item: &&Item| ident(item).as_deref() == Some(name);
        if let Some(item) = module.items.iter().find(is_it) {
            return Some((module_path.to_vec(), item));
        }
        self.resolve(&module.imports.get(name)?.0)
    }
}

fn module_file(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(format!("{name}.rs"));
    if file.exists() { file } else { dir.join(name).join("mod.rs") }
}

/// Calls `found` with the name that each leaf of a `use` brings in, and its path.
fn collect(tree: &UseTree, path: &mut ItemPath, found: &mut impl FnMut(String, ItemPath)) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            collect(&part.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found(path.last().cloned().unwrap_or_default(), path.clone());
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found(name.clone(), [path.clone(), vec![name]].concat());
        }
        UseTree::Rename(rename) => {
            found(
                rename.rename.to_string(),
                [path.clone(), vec![rename.ident.to_string()]].concat(),
            );
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, path, found)),
        UseTree::Glob(_) => {}
    }
}

/// A path from the root of the crate, or with another crate's name first.
fn absolute(module: &[String], path: ItemPath) -> ItemPath {
    match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("self") => [module, &path[1..]].concat(),
        Some("super") => {
            let outer = module.split_last().map_or(&[][..], |(_, outer)| outer);
            absolute(outer, [vec!["self".to_owned()], path[1..].to_vec()].concat())
        }
        _ => path,
    }
}

/// Whether an item is there for users: all features but the private one, and no test.
pub(crate) fn is_compiled(attrs: &[Attribute]) -> bool {
    attrs.iter().all(|attr| {
        let text = tokens(&attr.meta);
        !(attr.path().is_ident("cfg") && (text.contains("not(feature") || text.contains("test"))
            || text.contains("doc(hidden)"))
    })
}

pub(crate) fn attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

pub(crate) fn ident(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Tokens as rustfmt would space them, or nearly.
pub(crate) fn tokens(part: &impl quote::ToTokens) -> String {
    let mut text = part.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" :", ":"),
        ("& ", "&"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        (" ;", ";"),
        ("->", "-> "),
        ("->  ", "-> "),
        ("-> ", " -> "),
        ("  ", " "),
        ("(mut self", "(self"),
        (",)", ")"),
        (", >", ">"),
        ("' ", "'"),
        ("impl(", "impl ("),
        ("Fn (", "Fn("),
        ("! ", "!"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// The derived traits and whether the type may grow, as text.
pub(crate) fn notes(attrs: &[Attribute]) -> String {
    let mut notes = String::new();
    let mut derived: Vec<String> = Vec::new();
    for attr in attrs {
        let text = tokens(&attr.meta);
        for part in text.split("derive(").skip(1) {
            let list = part.split(')').next().unwrap_or_default();
            derived.extend(list.split(',').map(|name| name.trim().to_owned()));
        }
        if matches!(&attr.meta, Meta::Path(path) if path.is_ident("non_exhaustive")) {
            notes += " #[non_exhaustive]";
        }
    }
    derived.retain(|name| !name.is_empty());
    derived.sort();
    if !derived.is_empty() {
        notes += &format!(" derive({})", derived.join(", "));
    }
    notes
}
